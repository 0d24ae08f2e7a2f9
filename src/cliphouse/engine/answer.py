"""One statement of a user: its result, its time and how much it read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cliphouse.engine.arrow_types import with_own_values
from cliphouse.engine.connection import Connection
from cliphouse.engine.deprecated import suggest_current_index, with_current_function_names
from cliphouse.engine.reading import Reading, ReadingMeter
from cliphouse.engine.statements import (
    ends_engine,
    has_open_comment,
    is_insert,
    names_format,
    reads_local_file,
    split_statements,
    writes_local_file,
)
from cliphouse.errors import CliphouseError, QueryError

if TYPE_CHECKING:
    import pyarrow as pa

_ARROW = b"ARROW1"  # the first bytes of an Arrow file


@dataclass(frozen=True)
class Answer:
    """The result of a statement. If the statement names a FORMAT, the result is the bytes
    ``written`` and ``rows`` is None. ``reading`` is None if it was not measured.

    ``warning`` says why rows may be missing in it, ``hint`` what would make it faster; each is None
    if there is nothing to say."""

    rows: pa.Table | None
    written: bytes
    seconds: float
    reading: Reading | None
    warning: str | None = None
    hint: str | None = None

    @property
    def has_result(self) -> bool:
        """Whether there is something to print: rows, if only their names, or what was written."""
        return bool(self.written) or (self.rows is not None and bool(self.rows.column_names))


def run_statement(
    connection: Connection,
    statement: str,
    parameters: Mapping[str, Any] | None,
    metered: bool,
    settings: Mapping[str, int | str] | None = None,
) -> Answer:
    """Run one statement with ``settings``; ``metered`` measures how much it reads, in an embedded
    engine.

    Raises QueryError if there is no statement or more than one, and EngineError, TableError or
    QueryError if the engine refuses it.
    """
    statements = split_statements(statement)
    if len(statements) != 1:
        raise QueryError("the statement is empty" if not statements else "give one statement")
    if has_open_comment(statements[0]):
        raise QueryError("a comment does not end: close it with */")
    only = with_current_function_names(statements[0])
    if reads_local_file(only) and not connection.is_embedded:
        raise QueryError(
            "INSERT ... FROM INFILE reads files of this machine, which a server cannot read; load "
            "them "
            f"with: cliphouse ingest FILE.csv --db {connection.address.shown}"
        )
    if connection.is_embedded and ends_engine(only):
        raise QueryError(
            "SYSTEM SHUTDOWN and SYSTEM KILL would end this process, which has the engine in it; "
            "the engine ends by itself with the command, the prompt or the program"
        )
    if writes_local_file(only) and not is_insert(only):
        raise QueryError(  # on a full disk the engine says nothing, and leaves a part of the file
            "INTO OUTFILE: leave it out, and give the command -o FILE, which writes a whole file "
            "or none"
        )
    meter = ReadingMeter(connection) if metered and connection.is_alone else None
    started = time.perf_counter()
    try:
        rows, written = _run(connection, only, parameters, settings)
    except CliphouseError as error:
        raise suggest_current_index(error, only) from error
    seconds = time.perf_counter() - started
    return Answer(rows, written, seconds, meter.read() if meter else None)


def _run(
    connection: Connection,
    statement: str,
    parameters: Mapping[str, Any] | None,
    settings: Mapping[str, int | str] | None,
) -> tuple[pa.Table | None, bytes]:
    """The rows that a statement gives, which may be none, or else what it has written.

    Whether a statement gives rows is told by what it gives.
    """
    import pyarrow as pa

    if names_format(statement):
        return None, connection.raw(statement, parameters, settings)
    fmt = None if is_insert(statement) else "Arrow"  # that of an INSERT may be its data's
    data = connection.raw(statement, parameters, settings, fmt)
    if not data:
        return pa.table({}), b""
    if not data.startswith(_ARROW):  # it names a FORMAT in a way that names_format does not know
        return None, data
    rows = pa.ipc.open_file(pa.py_buffer(data)).read_all()
    return with_own_values(rows, connection, statement, parameters), b""
