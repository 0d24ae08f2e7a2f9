"""Hits as an Arrow table, for files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from cliphouse.schema.columns import COLUMNS, Column
from cliphouse.search.results import Hit, SearchResult, hit_fields

_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def hits_schema(columns: Sequence[Column] = COLUMNS) -> pa.Schema:
    """The schema of ``hits_table``."""
    return pa.schema(
        [
            ("id", pa.int64()),
            ("score", pa.float64()),
            ("distance", pa.float64()),
            *((field.name, _ARROW[field.type.python]) for field in hit_fields(columns)),
            ("folded", pa.int64()),
        ]
    )


def hits_table(hits: Iterable[Hit], columns: Sequence[Column] = COLUMNS) -> pa.Table:
    """A row for each hit, a column for each of its fields."""
    return pa.Table.from_pylist([hit.to_dict() for hit in hits], schema=hits_schema(columns))


def results_table(queries: Sequence[str], results: Sequence[SearchResult]) -> pa.Table:
    """The hits of several searches in one table, each behind its query (column ``query``)."""
    rows = [
        hit.to_dict() | {"query": query}
        for query, result in zip(queries, results, strict=True)
        for hit in result
    ]
    schema = hits_schema().insert(0, pa.field("query", pa.string()))
    return pa.Table.from_pylist(rows, schema=schema)
