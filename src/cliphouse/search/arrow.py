"""Hits as an Arrow table, for files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields

import pyarrow as pa

from cliphouse.search.results import Hit

_ARROW = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}
HITS = pa.schema([(field.name, _ARROW[str(field.type)]) for field in fields(Hit)])


def hits_table(hits: Iterable[Hit]) -> pa.Table:
    """A row for each hit, a column for each of its fields."""
    return pa.Table.from_pylist([asdict(hit) for hit in hits], schema=HITS)
