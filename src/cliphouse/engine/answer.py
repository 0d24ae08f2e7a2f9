"""One statement of a user: its result, its time and how much it read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cliphouse.engine.connection import Connection
from cliphouse.engine.deprecated import suggest_current_index, with_current_function_names
from cliphouse.engine.reading import Reading, ReadingMeter
from cliphouse.engine.statements import (
    names_format,
    reads_local_file,
    returns_rows,
    split_statements,
)
from cliphouse.errors import CliphouseError, QueryError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Answer:
    """The result of a statement. If the statement names a FORMAT, the result is the bytes
    ``written`` and ``rows`` is None. ``reading`` is None if it was not measured."""

    rows: pa.Table | None
    written: bytes
    seconds: float
    reading: Reading | None


def run_statement(
    connection: Connection, statement: str, parameters: Mapping[str, Any] | None, metered: bool
) -> Answer:
    """Run one statement; ``metered`` measures how much it reads, in an embedded engine.

    Raises QueryError if there is no statement or more than one, and EngineError, TableError or
    QueryError if the engine refuses it.
    """
    statements = split_statements(statement)
    if len(statements) != 1:
        raise QueryError("the statement is empty" if not statements else "give one statement")
    only = with_current_function_names(statements[0])
    if reads_local_file(only) and not connection.is_embedded:
        raise QueryError(
            "INSERT ... FROM INFILE reads files of this machine, which a server cannot read; load "
            "them "
            f"with: cliphouse ingest FILE.csv --db {connection.address.shown}"
        )
    meter = ReadingMeter(connection) if metered and connection.is_embedded else None
    started = time.perf_counter()
    try:
        rows, written = _run(connection, only, parameters)
    except CliphouseError as error:
        raise suggest_current_index(error, only) from error
    seconds = time.perf_counter() - started
    return Answer(rows, written, seconds, meter.read() if meter else None)


def _run(
    connection: Connection, statement: str, parameters: Mapping[str, Any] | None
) -> tuple[pa.Table | None, bytes]:
    if names_format(statement):
        return None, connection.raw(statement, parameters)
    if returns_rows(statement):
        return connection.query(statement, parameters, in_session=True), b""
    connection.command(statement, parameters, in_session=True)
    import pyarrow as pa

    return pa.table({}), b""
