"""Completion at the prompt of cliphouse sql: keywords, functions, tables and columns."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from cliphouse.engine.connection import Connection
from cliphouse.engine.quoting import backquote
from cliphouse.engine.statements import is_within_text, names_in
from cliphouse.errors import CliphouseError

_KEYWORDS = (
    *("ALTER TABLE", "AND", "ARRAY JOIN", "AS", "ASC", "BETWEEN", "CASE", "CREATE TABLE"),
    *("DESC", "DESCRIBE TABLE", "DISTINCT", "DROP TABLE", "ELSE", "END", "EXPLAIN", "FORMAT"),
    *("FROM", "GROUP BY", "HAVING", "ILIKE", "IN", "INSERT INTO", "IS NULL", "JOIN"),
    *("LEFT JOIN", "LIKE", "LIMIT", "NOT", "ON", "OR", "ORDER BY", "PREWHERE", "SELECT", "SET"),
    *("SETTINGS", "SHOW CREATE TABLE", "SHOW TABLES", "THEN", "UNION ALL", "USE", "USING"),
    *("VALUES", "WHEN", "WHERE", "WITH"),
)
_OUR_FUNCTIONS = ("encode_text", "encode_image")
_WORD = re.compile(r"[\w.]*$")
_BEFORE_TABLE = re.compile(
    r"\b(FROM|JOIN|INTO|TABLE|DESCRIBE|DESC|TRUNCATE|EXISTS|OPTIMIZE)\s+$", re.IGNORECASE
)
_DOTTED = re.compile(r"\w+\.\w+")
_PLAIN = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    table: str
    name: str


class Names:
    """The names that statements may use, read from the engine when they are first asked for.

    Several threads may ask. If the engine refuses to list names, there are none to complete.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._tables: Sequence[str] | None = None
        self._columns: Sequence[Column] | None = None
        self._functions: Sequence[str] | None = None

    def forget(self) -> None:
        """Read tables and columns again when they are next asked for: a statement may have changed
        them."""
        with self._lock:
            self._tables = self._columns = None

    @property
    def tables(self) -> Sequence[str]:
        """Those of the database, and behind their database's name those of system."""
        with self._lock:
            if self._tables is None:
                self._tables = self._read(
                    "SELECT if(database = currentDatabase(), name, concat('system.', name)) AS name"
                    " FROM system.tables WHERE database IN (currentDatabase(), 'system')"
                    " AND NOT is_temporary ORDER BY database = 'system', name"
                )
            return self._tables

    @property
    def columns(self) -> Sequence[Column]:
        """Those of the database's tables and of system's."""
        with self._lock:
            if self._columns is None:
                rows = self._rows(
                    "SELECT if(database = currentDatabase(), table, concat('system.', table)) AS t,"
                    " name FROM system.columns"
                    " WHERE database IN (currentDatabase(), 'system') ORDER BY table, position"
                )
                self._columns = [Column(row["t"], row["name"]) for row in rows]
            return self._columns

    @property
    def functions(self) -> Sequence[str]:
        with self._lock:
            if self._functions is None:
                found = self._read("SELECT name FROM system.functions ORDER BY name")
                self._functions = sorted({*filter(_PLAIN.fullmatch, found), *_OUR_FUNCTIONS})
            return self._functions

    def _read(self, statement: str) -> list[str]:
        return [row["name"] for row in self._rows(statement)]

    def _rows(self, statement: str) -> list[dict[str, str]]:
        try:
            found = self._connection.rows(statement)
        except CliphouseError:
            return []
        return [{name: _text(value) for name, value in row.items()} for row in found]


class SqlCompleter(Completer):
    """Completes the word before the cursor, whatever the case of its letters.

    After FROM and its like come tables, after the name of a table and a dot its columns, elsewhere
    the columns of the tables that the statement names, or of all if it names none yet, functions
    and keywords.
    """

    def __init__(self, names: Names) -> None:
        self._names = names

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        before = document.text_before_cursor
        if is_within_text(before):
            return
        match = _WORD.search(before)
        word = match[0] if match else ""
        start = before[: len(before) - len(word)]
        if _BEFORE_TABLE.search(start):
            yield from _matching(word, self._names.tables, "table")
            return
        table, dot, part = word.rpartition(".")
        if dot:
            yield from self._of_table(table, part, document.text)
            return
        used = names_in(document.text) | set(_DOTTED.findall(document.text))
        columns = [one for one in self._names.columns if one.table in used]
        if not columns:  # SELECT is written before FROM
            columns = [one for one in self._names.columns if "." not in one.table]
        seen = dict.fromkeys(one.name for one in columns)
        yield from _matching(word, seen, "column")
        if word:
            yield from _matching(word, self._names.functions, "function", "(")
            yield from _matching(word, _KEYWORDS, "keyword")
            yield from _matching(word, self._names.tables, "table")

    def _of_table(self, table: str, part: str, statement: str) -> Iterator[Completion]:
        """The columns of a table or of what a statement calls so; the tables of a database."""
        called = rf"\b(?:FROM|JOIN)\s+([\w.]+)\s+(?:AS\s+)?{re.escape(table)}\b"
        alias = re.search(called, statement, re.IGNORECASE)
        named = (table, alias[1] if alias else table)
        own = [one.name for one in self._names.columns if one.table in named]
        yield from _matching(part, own, "column")
        within = [t.partition(".")[2] for t in self._names.tables if t.startswith(f"{table}.")]
        yield from _matching(part, within, "table")


def _matching(word: str, names: Iterable[str], kind: str, behind: str = "") -> Iterator[Completion]:
    for name in names:
        if name.lower().startswith(word.lower()):
            is_name = kind in ("table", "column")
            quoted = backquote(name) if is_name and not _is_plain(name) else name
            yield Completion(quoted + behind, -len(word), display=name, display_meta=kind)


def _is_plain(name: str) -> bool:
    return all(map(_PLAIN.fullmatch, name.split(".", 1)))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
