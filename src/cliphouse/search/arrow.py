"""Hits as an Arrow table, for files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from cliphouse.schema.columns import COLUMNS, Column
from cliphouse.search.results import Hit, SearchResult, hit_fields

_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def hits_schema(
    fields: Sequence[str] | None = None, columns: Sequence[Column] = COLUMNS
) -> pa.Schema:
    """The schema of ``hits_table``."""
    shown = [f for f in hit_fields(columns) if fields is None or f.name in fields]
    return pa.schema(
        [
            ("id", pa.int64()),
            ("score", pa.float64()),
            ("distance", pa.float64()),
            *((field.name, _ARROW[field.type.python]) for field in shown),
            ("folded", pa.int64()),
        ]
    )


def hits_table(hits: Iterable[Hit], fields: Sequence[str] | None = None) -> pa.Table:
    """A row for each hit, a column for each of its values. ``fields`` are the columns that the
    search has asked for, None for all."""
    return pa.Table.from_pylist([hit.to_dict() for hit in hits], schema=hits_schema(fields))


def results_table(
    queries: Sequence[str], results: Sequence[SearchResult], fields: Sequence[str] | None = None
) -> pa.Table:
    """The hits of several searches in one table, each behind its query (column ``query``)."""
    rows = [
        hit.to_dict() | {"query": query}
        for query, result in zip(queries, results, strict=True)
        for hit in result
    ]
    schema = hits_schema(fields).insert(0, pa.field("query", pa.string()))
    return pa.Table.from_pylist(rows, schema=schema)
