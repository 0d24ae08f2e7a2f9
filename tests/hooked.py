"""Loads in this process, at whose statements a test does something of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cliphouse.engine.address import parse_address
from cliphouse.engine.connection import Connection, Parameters
from cliphouse.engine.opening import open_connection
from cliphouse.engine.staging import StagedRows
from cliphouse.loading.ingest import IngestReport, ingest
from cliphouse.loading.options import IngestOptions, LoadSettings
from cliphouse.loading.scheduler import OnWait
from cliphouse.shards.reader import BatchLimits


class Hooks:
    """What happens at the statements of a load. As it is, nothing."""

    def statement(self, sql: str, run: Callable[[], Any]) -> Any:
        """Called in the place of a statement that is no insert of staged rows; ``run`` runs it and
        returns its result."""
        return run()

    def insert(
        self, connection: Connection, table: str, rows: StagedRows, settings: Parameters
    ) -> None:
        """Called in the place of an insert of staged rows, by any of the inserting threads."""
        connection.insert(table, rows, settings)


class Hooked:
    """A connection, and its clones, with ``hooks``."""

    def __init__(self, connection: Connection, hooks: Hooks) -> None:
        self._connection = connection
        self._hooks = hooks

    def command(self, sql: str, *more: Any, **named: Any) -> Any:
        run = partial(self._connection.command, sql, *more, **named)
        return self._hooks.statement(sql, run)

    def query(self, sql: str, *more: Any, **named: Any) -> Any:
        run = partial(self._connection.query, sql, *more, **named)
        return self._hooks.statement(sql, run)

    def insert(self, table: str, rows: StagedRows, settings: Parameters) -> None:
        self._hooks.insert(self._connection, table, rows, settings)

    def clone(self) -> Hooked:
        return Hooked(self._connection.clone(), self._hooks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def hooked_ingest(
    db: str | Path,
    folder: Path,
    hooks: Hooks,
    settings: LoadSettings | None = None,
    on_wait: OnWait | None = None,
    **options: Any,
) -> IngestReport:
    """Load ``folder`` into the table laion of ``db`` with ``hooks``; ``options`` are those of
    IngestOptions."""
    given = IngestOptions(**options, settings=settings or LoadSettings())
    opened: list[Connection] = []

    def connect() -> Any:
        opened.append(open_connection(parse_address(str(db)), create=True))
        return Hooked(opened[0], hooks)

    try:
        return ingest(connect, "laion", [str(folder)], given, on_wait=on_wait)
    finally:
        for connection in opened:
            connection.close()


def small_batches(rows: int) -> LoadSettings:
    """Loads with inserts of at most so many rows."""
    return LoadSettings(BatchLimits(rows=rows))
