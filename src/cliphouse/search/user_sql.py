"""A user's own statements, kept from losing rows to a vector index.

The engine's index finds the nearest rows of all, and only then leaves out those that a filter does
not pass or that were deleted: too few rows are left, or none. cliphouse's own searches look for
more; a user's statement has the engine apply filters first, and does without the index while rows
are marked as deleted. Settings of the user's own remain as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from cliphouse.cluster.placement import find_placement
from cliphouse.engine.answer import Answer, run_statement
from cliphouse.engine.connection import Connection
from cliphouse.engine.features import STRATEGY, USE_INDEX
from cliphouse.engine.quoting import quote, settings_list
from cliphouse.engine.statements import find_name, is_set, names_in, sorts_by_distance
from cliphouse.errors import CliphouseError, QueryError

_FILTER = re.compile(r"Filter column:|Prewhere filter column:")
# What is set unless the user has set it.
_WANTED: dict[str, int | str] = {STRATEGY: "prefilter", USE_INDEX: 0}
_FREE = (
    "SELECT name FROM system.settings "
    "WHERE has({names:Array(String)}, name) AND NOT changed AND readonly = 0"
)
# A table is of this database, or of one that the statement names.
_NAMED = "has({names}, table) AND (database = currentDatabase() OR has({names}, database))"
# The tables of which rows are marked as deleted, and those of them that have an index.
_DELETED = (
    f"SELECT DISTINCT table FROM system.parts WHERE active AND has_lightweight_delete AND {_NAMED}"
)
_ANY_DELETED = "SELECT DISTINCT table FROM system.parts WHERE active AND has_lightweight_delete"
_INDEXED = (
    "SELECT DISTINCT table FROM system.data_skipping_indices WHERE type = 'vector_similarity' "
    f"AND {_NAMED}"
)
_VIEWS = (
    "SELECT as_select FROM system.tables WHERE engine = 'View' "
    "AND has({names}, name) "
    "AND (database = currentDatabase() OR has({names}, database))"
)
_DISTRIBUTED = (
    "SELECT name FROM system.tables WHERE engine = 'Distributed' "
    "AND database = currentDatabase() AND has({names}, name)"
)


@dataclass(frozen=True)
class _Care:
    """What is done for one statement: the ``settings`` that it runs with. ``deleted`` are its
    tables that have an index and rows that are marked as deleted; if it ``is_exact``, it does not
    use the index for them. If it ``is_watched``, settings of the user's own may cost rows."""

    settings: Mapping[str, int | str]
    deleted: tuple[str, ...] = ()
    is_exact: bool = False
    is_watched: bool = False


class UserSql:
    """Runs a user's statements, and remembers what they SET on their connection."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._free: set[str] = set()  # of _WANTED, those that the user has not set
        self._clean_at: int | None = None  # after so many changes no row was marked as deleted

    def run(
        self,
        connection: Connection,
        statement: str,
        parameters: Mapping[str, Any] | None,
        metered: bool = False,
    ) -> Answer:
        """Run one statement (see cliphouse.engine.answer.run_statement)."""
        if connection is not self._connection:
            self._begin(connection)
        care = self._care(connection, statement)
        with _settings(connection, care.settings) as sent:
            answer = run_statement(connection, statement, parameters, metered, sent)
            warning = _lost(connection, statement, parameters, care, sent)
        if is_set(statement):
            self._free -= {name for name in _WANTED if find_name(statement, name) is not None}
        hint = _hint(care.deleted, connection.address.shown) if care.is_exact else None
        return replace(answer, warning=warning, hint=hint)

    def _begin(self, connection: Connection) -> None:
        if connection.is_embedded:
            self._free = set(_WANTED)
            # The session lasts as long as the connection, and views have the setting too.
            connection.command(f"SET {STRATEGY} = '{_WANTED[STRATEGY]}'", in_session=True)
        else:
            found = connection.query(_FREE, {"names": list(_WANTED)}, in_session=True)
            self._free = set(found.column("name").to_pylist())
        self._connection, self._clean_at = connection, None

    def _care(self, connection: Connection, statement: str) -> _Care:
        own = {name for name in _WANTED if find_name(statement, name) is not None}
        free = self._free - own
        is_sent = STRATEGY in free and not connection.is_embedded
        settings = {STRATEGY: _WANTED[STRATEGY]} if is_sent else {}
        is_clean = self._is_clean(connection)
        whole = statement if is_clean else _with_views(connection, statement)
        if not sorts_by_distance(whole):
            return _Care(settings)
        deleted = () if is_clean else self._with_deleted_rows(connection, names_in(whole))
        is_exact = bool(deleted) and USE_INDEX in free
        if is_exact:
            settings[USE_INDEX] = _WANTED[USE_INDEX]
        return _Care(settings, deleted, is_exact, STRATEGY not in free or len(deleted) > is_exact)

    def _is_clean(self, connection: Connection) -> bool:
        """Whether no row is marked as deleted, as far as is known without a question."""
        return connection.changes is not None and connection.changes == self._clean_at

    def _with_deleted_rows(self, connection: Connection, names: set[str]) -> tuple[str, ...]:
        """Those of the tables that have an index, and rows that are marked as deleted."""
        changes = connection.changes
        with suppress(CliphouseError):  # a user may not be allowed to read these system tables
            marked = set(_listed(connection, _DELETED, names))
            if changes is not None and not marked and not _listed(connection, _ANY_DELETED, set()):
                self._clean_at = changes
            indexed = marked & set(_listed(connection, _INDEXED, names)) if marked else set()
            return (*sorted(indexed), *_elsewhere(connection, names))
        return ()


@contextmanager
def _settings(
    connection: Connection, settings: Mapping[str, int | str]
) -> Iterator[Mapping[str, int | str]]:
    """Run a statement with ``settings``, which the user has not set: yields those to send with it.

    The embedded engine gets them before: its driver would read all settings for each statement.
    """
    if not connection.is_embedded or not settings:
        yield settings
        return
    connection.command(f"SET {settings_list(settings)}", in_session=True)
    try:
        yield {}
    finally:
        defaults = ", ".join(f"{name} = DEFAULT" for name in settings)
        connection.command(f"SET {defaults}", in_session=True)


def _with_views(connection: Connection, statement: str) -> str:
    """A statement, and the text of all views that it reads, also by way of one another."""
    texts, asked = [statement], set[str]()
    with suppress(CliphouseError):  # a user may not be allowed to read this system table
        while names := names_in(texts[-1]) - asked:
            asked |= names
            found = _listed(connection, _VIEWS, names)
            if not found:
                break
            texts.append("; ".join(found))
    return "; ".join(texts)


def _elsewhere(connection: Connection, names: set[str]) -> list[str]:
    """Those of the tables that are spread over a cluster and have rows marked as deleted."""
    if connection.is_embedded:
        return []
    spread = _listed(connection, _DISTRIBUTED, names)
    return [name for name in spread if _has_deleted_elsewhere(connection, name)]


def _listed(connection: Connection, sql: str, names: set[str]) -> list[str]:
    # Parameters of this statement would end those that the user has SET.
    listed = f"CAST([{', '.join(map(quote, sorted(names)))}], 'Array(String)')"
    rows = connection.rows(sql.replace("{names}", listed))
    return [next(iter(row.values())).decode() for row in rows]


def _has_deleted_elsewhere(connection: Connection, name: str) -> bool:
    placement = find_placement(connection, name)
    parts = f"{placement.system('parts')} WHERE active AND has_lightweight_delete"
    return bool(connection.command(f"SELECT count() FROM {parts} AND {placement.is_rows}"))


def _lost(
    connection: Connection,
    statement: str,
    parameters: Mapping[str, Any] | None,
    care: _Care,
    settings: Mapping[str, int | str],
) -> str | None:
    """Why rows may be missing in the result of a statement that has run; None if none are."""
    if not care.is_watched:
        return None
    try:
        plan = connection.raw(f"EXPLAIN indexes = 1 {statement}", parameters, settings)
    except QueryError:  # as of an INSERT or another EXPLAIN, which cannot be explained
        return None
    except CliphouseError as error:
        return f"rows may be missing: whether an index was used could not be asked ({error})"
    return _why_lost(plan.decode("utf-8", "replace"), care.deleted)


def _why_lost(plan: str, deleted: Sequence[str]) -> str | None:
    """What costs rows by a statement's plan, from the outermost step to the innermost."""
    if "vector_similarity" not in plan:
        return None
    used = "rows may be missing: the index was used, and"
    # A filter outside of the search, on what it has found, costs none.
    if _FILTER.search(plan.rpartition("Sorting (")[2]):
        return (
            f"{used} the filter applied to what it had found. {STRATEGY} = 'prefilter' applies it "
            "first"
        )
    if deleted:
        names = " and ".join(sorted(deleted))
        return (
            f"{used} rows of {names} were deleted, which it still finds. {USE_INDEX} = 0 does "
            "without it"
        )
    return None


def _hint(deleted: Sequence[str], shown: str) -> str:
    names = " and ".join(sorted(deleted))
    return (
        f"rows of {names} were deleted, which the index still finds: all rows were compared "
        f"instead. cliphouse check --repair --db {shown} removes them for good"
    )
