"""Hits as an Arrow table, for files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from cliphouse.schema.columns import COLUMNS, Column
from cliphouse.search.results import Hit, hit_fields

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
