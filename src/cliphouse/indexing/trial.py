"""A small graph, built to see how fast this machine builds graphs of a table's rows."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace

from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.index_spec import IndexSpec

_ROWS = 1000  # take 0.1 to 0.3 seconds of a processor
_LEAST_ROWS = 20_000  # fewer are indexed in seconds, whatever the forecast
_EF_CONSTRUCTION = 128  # a wider search would look at all of so few rows


@dataclass(frozen=True)
class Trial:
    """A graph that was built for trial, and the seconds of a processor that it took."""

    spec: IndexSpec
    rows: int
    dim: int
    processor_seconds: float


def try_build(table: TableHandle, spec: IndexSpec, rows: int) -> Trial | None:
    """Build a graph as ``spec`` says, but of the table's first 1,000 of ``rows`` rows.

    It is an index of a temporary table, which is gone with its connection. None if the engine is
    another process, whose processor time is not known, or if the table is small.
    """
    if not table.connection.is_embedded or rows < _LEAST_ROWS:
        return None
    spec = replace(spec, ef_construction=min(spec.ef_construction, _EF_CONSTRUCTION))
    column, dim = embedding_column(spec.modality), table.info.dim
    with closing(table.connection.clone()) as own:
        for name, index in (
            ("plain", ""),
            ("trial", f", INDEX trial vector TYPE {spec.type_sql(dim)} GRANULARITY 100000000"),
        ):
            own.command(
                f"CREATE TEMPORARY TABLE {name} (vector {table.columns[column]} CODEC(NONE){index})"
                " ENGINE = MergeTree ORDER BY tuple()"
            )
        own.command(
            f"INSERT INTO plain SELECT {column} FROM {table.sql} "
            f"WHERE length({column}) = {dim} LIMIT {_ROWS}"
        )
        started = time.process_time()
        own.command("INSERT INTO trial SELECT vector FROM plain")
        return Trial(spec, _ROWS, dim, time.process_time() - started)
