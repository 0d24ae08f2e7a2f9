"""What a statement has answered, and what it took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cliphouse.engine.connection import Connection
from cliphouse.engine.deprecated import respelled, with_replacement
from cliphouse.engine.reading import Reading, ReadingMeter
from cliphouse.engine.statements import (
    names_format,
    reads_local_file,
    returns_rows,
    split_statements,
)
from cliphouse.errors import CliphouseError, QueryError


@dataclass(frozen=True)
class Answer:
    """``rows`` is the result, or None where ``written`` holds it as the statement's own FORMAT
    wrote it. ``reading`` is None where the engine does not tell. Time is in seconds."""

    rows: pa.Table | None
    written: bytes
    seconds: float
    reading: Reading | None


def run_statement(
    connection: Connection, statement: str, parameters: Mapping[str, Any] | None, metered: bool
) -> Answer:
    """Run one statement; ``metered`` counts what it reads, in an embedded engine.

    Raises QueryError where it is none or more than one, and EngineError, TableError or QueryError
    where the engine refuses it.
    """
    statements = split_statements(statement)
    if len(statements) != 1:
        raise QueryError("the statement is empty" if not statements else "give one statement")
    only = respelled(statements[0])
    if reads_local_file(only) and not connection.is_embedded:
        raise QueryError(
            "INSERT ... FROM INFILE reads files of this machine, which a server cannot; load them "
            f"with: cliphouse ingest FILE.csv --db {connection.address.shown}"
        )
    meter = ReadingMeter(connection) if metered and connection.is_embedded else None
    started = time.perf_counter()
    try:
        rows, written = _run(connection, only, parameters)
    except CliphouseError as error:
        raise with_replacement(error, only) from error
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
    return pa.table({}), b""
