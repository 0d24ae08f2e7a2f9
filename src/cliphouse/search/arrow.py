"""Hits as an Arrow table, for files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from cliphouse.search.hits import Hit, HitField, hit_fields
from cliphouse.shards.kept import arrow_type

_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def hits_schema(fields: Sequence[HitField]) -> pa.Schema:
    """The schema of ``hits_table``."""
    return pa.schema(
        [
            ("id", pa.int64()),
            ("score", pa.float64()),
            ("distance", pa.float64()),
            *((field.name, _type(field)) for field in fields),
            ("folded", pa.int64()),
        ]
    )


def _type(field: HitField) -> pa.DataType:
    if field.type.python is not None:
        return _ARROW[field.type.python]
    return _as_text(arrow_type(field.type.sql))


def _as_text(kind: pa.DataType) -> pa.DataType:
    """The type with its texts as strings, which hits have them as."""
    if pa.types.is_list(kind):
        return pa.list_(_as_text(kind.value_type))
    return pa.string() if pa.types.is_binary(kind) else kind


def hits_table(hits: Iterable[Hit], fields: Sequence[HitField] = hit_fields()) -> pa.Table:
    """A row for each hit, a column for each of its values. ``fields`` are the columns that the hits
    show (SearchResult.fields)."""
    return pa.Table.from_pylist([hit.to_dict() for hit in hits], schema=hits_schema(fields))


def results_table(
    queries: Sequence[str],
    results: Sequence[Sequence[Hit]],
    fields: Sequence[HitField] = hit_fields(),
) -> pa.Table:
    """The hits of several searches that show the columns ``fields`` in one table, each behind its
    query (column ``query``)."""
    rows = [
        hit.to_dict() | {"query": query}
        for query, result in zip(queries, results, strict=True)
        for hit in result
    ]
    schema = hits_schema(fields).insert(0, pa.field("query", pa.string()))
    return pa.Table.from_pylist(rows, schema=schema)


def rows_table(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> pa.Table:
    """Rows of a table, as `read_rows` reads them, whose columns have the ``types`` of SQL."""
    names = list(rows[0]) if rows else []
    columns = [pa.array([row[name] for row in rows], _known_type(types[name])) for name in names]
    return pa.table(columns, names)


def _known_type(sql: str) -> pa.DataType | None:
    """The type of a column that we made; None, for Arrow to find out, of another."""
    try:
        return _as_text(arrow_type(sql))
    except (ValueError, StopIteration):
        return None
