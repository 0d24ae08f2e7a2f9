"""Statements that other processes of the owner have a service's embedded engine run, which may only
read."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cliphouse.engine import embedded
from cliphouse.engine.embedded_connection import COMPILING
from cliphouse.engine.quoting import quote, settings_list
from cliphouse.engine.roles import READER
from cliphouse.engine.statements import is_query, names_format, writes_local_file
from cliphouse.engine.workspace import is_running
from cliphouse.errors import OverloadError, QueryError
from cliphouse.udf import EncoderSettings

_MOST_SESSIONS = 256
_BUSY_SECONDS = 30.0
_MARK = "cliphouse reads for "  # and the name of a session, in the engine's notes
_PIECE = 2**20
_FORMAT = re.compile(
    r"\bFORMAT\s+(?P<name>\w+)\s*(?P<rest>\bSETTINGS\b[^']*)?;?\s*\Z", re.IGNORECASE
)
# Formats whose blocks can stand behind one another, and that in which cliphouse asks for few rows,
# as it does without a FORMAT.
_IN_ROWS = frozenset(("CSV", "JSONEachRow", "TabSeparated", "TSV", "RowBinary"))
_SMALL = "Native"
_PLAIN = "TabSeparated"  # of a statement for which nobody has asked for a format
_SYNTAX = "SYNTAX_ERROR"


@dataclass(frozen=True)
class Statement:
    """A statement with its parameters, as their text, and its settings. ``format`` is that of the
    result, unless the statement names one."""

    sql: str
    format: str = _PLAIN
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen_format(self) -> str:
        return self._named["name"] if self._named else self.format

    @property
    def may_be_large(self) -> bool:
        """Whether the result is a query's, in a format that somebody has asked for."""
        return self.chosen_format != _SMALL and self._is_asked_for and is_query(self.sql)

    def into_file(self, file: Path) -> Statement:
        """The same query with its result in a file."""
        place = self._named.start() if self._named else len(self.sql)
        form = self.sql[place:] or f"FORMAT {self.format}"
        sql = f"{self.sql[:place]}\nINTO OUTFILE {quote(str(file))} {form}"
        return replace(self, sql=sql)

    @property
    def _is_asked_for(self) -> bool:
        return self._named is not None or self.format != _PLAIN

    @cached_property
    def _named(self) -> re.Match[str] | None:
        """The FORMAT at the end of the statement."""
        return _FORMAT.search(self.sql) if names_format(self.sql) else None


class ReadingSession:
    """A connection of one caller, which keeps what its statements SET. The engine lets them change
    nothing else. ``mark`` is what it notes of them in system.processes."""

    def __init__(self, folder: Path, mark: str) -> None:
        """The engine must have been told of readers (cliphouse.engine.embedded.prepare_readers)."""
        self._connection = embedded.open_bare(folder)
        settings = {**dict.fromkeys(COMPILING, 0), "log_comment": mark}
        self._connection.query(f"SET {settings_list(settings)}")
        self._connection.query(f"SET ROLE {READER}")
        self._connection.query("SET readonly = 2")
        self._busy = threading.Lock()
        self._given: Mapping[str, str] = {}  # the settings of the statement before
        self._before: Mapping[str, str] = {}  # what they were without it
        self.encoder: EncoderSettings | None = None
        self.failure = ""  # why the last answer broke off

    def run(self, statement: Statement) -> Generator[bytes, None, None]:
        """The result, in pieces as they are made. Raises RuntimeError with the engine's message,
        QueryError if it would be written to a file, and OverloadError if another statement of the
        session does not end."""
        if writes_local_file(statement.sql):
            raise QueryError("INTO OUTFILE writes a file: give the command --output FILE instead")
        if not self._busy.acquire(timeout=_BUSY_SECONDS):
            raise OverloadError("another statement of the same session is running")
        try:
            self.failure = ""
            self._keep(statement.settings)
            with (
                self._encoding(statement.sql),
                closing(self._pieces(statement)) as pieces,
            ):
                yield from pieces
        except RuntimeError as error:
            self.failure = str(error)
            raise
        finally:
            self._busy.release()

    @property
    def is_busy(self) -> bool:
        """Whether a statement is running."""
        return self._busy.locked()

    def close(self) -> None:
        with self._busy:
            self._connection.close()

    def _pieces(self, statement: Statement) -> Generator[bytes, None, None]:
        if not statement.may_be_large:
            yield from _cut(self._query(statement))
        elif statement.chosen_format in _IN_ROWS:
            with closing(self._send(statement)) as stream:
                yield from (block.bytes() for block in stream)
        else:
            yield from self._through_file(statement)

    def _through_file(self, statement: Statement) -> Iterator[bytes]:
        """A format with a head or a foot, which the engine writes block by block to files only."""
        with tempfile.TemporaryDirectory(prefix="cliphouse-result-") as folder:
            file = Path(folder) / "result"
            try:
                self._query(statement.into_file(file))
            except RuntimeError as error:
                if _SYNTAX not in str(error):
                    raise
                # It has not run. The engine is to quote the statement as it was given.
                yield from _cut(self._query(statement))
                return
            with file.open("rb") as stream:
                while piece := stream.read(_PIECE):
                    yield piece

    def _send(self, statement: Statement) -> Any:
        return self._connection.send_query(
            statement.sql, statement.chosen_format, params=dict(statement.parameters)
        )

    def _query(self, statement: Statement) -> bytes:
        result = self._connection.query(
            statement.sql, statement.format, params=dict(statement.parameters)
        )
        return bytes(result.bytes() or b"")

    def _keep(self, settings: Mapping[str, str]) -> None:
        """Set what a statement has set for itself, and what the one before had as it was. Most have
        the same."""
        if settings != self._given:
            self._set(self._before)
            self._given, self._before = {}, self._set(settings)
            self._given = settings

    def _set(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Set them all; returns what they were."""
        if not settings:
            return {}
        values = ", ".join(f"toString(getSetting('{name}'))" for name in settings)
        found = self._connection.query(f"SELECT {values}", "TSVRaw").bytes().decode()
        self._connection.query(f"SET {settings_list(settings)}")
        return dict(zip(settings, found.rstrip("\n").split("\t"), strict=True))

    @contextmanager
    def _encoding(self, sql: str) -> Iterator[None]:
        """Let the functions that encode use the caller's model and folder, while no other does."""
        if self.encoder is None or "encode_" not in sql:
            yield
            return
        with _encoding:
            embedded.set_encoder(self.encoder)
            yield


_encoding = threading.Lock()


class ReadingSessions:
    """The sessions of all callers. Their names begin with the callers' processes: those of
    processes that have ended are closed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._sessions: dict[str, ReadingSession] = {}
        self._stopping = threading.Lock()
        self._stopper: Any = None

    def session(self, name: str) -> ReadingSession:
        """The session of this name, which is begun if it is new. Raises OverloadError if there are
        too many."""
        with self._lock:
            if name not in self._sessions:
                self._close_left()
                if len(self._sessions) >= _MOST_SESSIONS:
                    raise OverloadError(f"{_MOST_SESSIONS} sessions are open, the most allowed")
                self._sessions[name] = ReadingSession(self._folder, _MARK + name)
            return self._sessions[name]

    def stop(self, name: str = "") -> None:
        """Stop the statement that a session runs, if any, or those of all sessions."""
        with self._stopping:
            if self._stopper is None:
                self._stopper = embedded.open_bare(self._folder)
            mark = quote(_MARK + name)
            self._stopper.query(
                "KILL QUERY WHERE query_id IN (SELECT query_id FROM system.processes "
                f"WHERE startsWith(Settings['log_comment'], {mark})) ASYNC"
            )

    def end(self, name: str) -> None:
        """Close a session, if there is one of this name. The statement that it runs is stopped."""
        with self._lock:
            ended = self._sessions.pop(name, None)
        if ended is not None:
            if ended.is_busy:
                self.stop(name)
            ended.close()

    def close(self) -> None:
        for name in list(self._sessions):
            self.end(name)
        if self._stopper is not None:
            self._stopper.close()

    def _close_left(self) -> None:
        for name in list(self._sessions):
            process = name.partition("-")[0]
            if not process.isdigit() or not is_running(int(process)):
                self._sessions.pop(name).close()


def _cut(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
