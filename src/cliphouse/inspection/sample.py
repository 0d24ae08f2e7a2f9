"""A sample of a table's rows, compared with the files that they were loaded from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cliphouse.engine.arrays import vectors_of
from cliphouse.engine.quoting import backquote
from cliphouse.errors import ShardError
from cliphouse.inspection.finding import AGAIN, Finding
from cliphouse.loading.fill import as_stored
from cliphouse.schema.columns import COLUMNS, embedding_column, metadata_fields
from cliphouse.schema.handle import TableHandle
from cliphouse.shards.numbering import ID_BITS
from cliphouse.shards.source import ShardSource

_RUN = 8  # rows that lie together in a file are read together
_COMPUTED = 1e-6  # how far apart a cosine may be that is computed anew
_COMPUTED_COLUMNS = frozenset(column.name for column in COLUMNS if column.is_pair_cosine)


def compare_sample(table: TableHandle, source: ShardSource) -> tuple[int, list[Finding]]:
    """Compare some rows of a shard with the table's: the first and the last ones, and some that
    lie in between, other ones for each shard. Rows that the table lacks are left out.

    Returns how many rows were compared and what was found: the first row that differs in each
    column, or that the files cannot be read.
    """
    compared, found = 0, dict[str, Finding]()
    try:
        for start in _starts(source):
            stop = min(start + _RUN, source.rows)
            rows = pa.concat_tables(
                source.reader.batches(metadata_fields(COLUMNS), start, stop, table.info.kept)
            )
            stored = _Stored.read(table, rows.column("id").to_pylist())
            compared += len(stored.ids)
            rows = rows.filter(pa.array(np.isin(rows.column("id").to_numpy(), stored.ids)))
            for name, row in _differences(as_stored(table, rows), stored):
                what = f"column {name} is not what the files hold; {AGAIN}"
                where = f"shard {source.number}, row {row}"
                found.setdefault(name, Finding("error", where, what))
    except ShardError as error:
        found[""] = Finding("error", f"shard {source.number}", str(error))
    return compared, list(found.values())


def _starts(source: ShardSource) -> list[int]:
    """Where the runs of rows begin; they do not overlap."""
    if source.rows <= _RUN:
        return [0] if source.rows else []
    last = max(_RUN, source.rows - _RUN)
    between = int(np.random.default_rng(source.number).integers(0, last))
    return [0, *([between] if _RUN <= between <= last - _RUN else []), last]


@dataclass(frozen=True)
class _Stored:
    """Rows of the table by their ids: their embeddings, float32 of shape (rows, dim), and the
    values of the other columns."""

    ids: Sequence[int]
    vectors: Mapping[str, NDArray[np.float32]]
    values: Mapping[str, Sequence[Any]]

    @classmethod
    def read(cls, table: TableHandle, ids: Sequence[int]) -> _Stored:
        listed = ", ".join(map(str, ids))
        rows = f"FROM {table.sql} WHERE id IN ({listed}) ORDER BY id LIMIT 1 BY id"
        names = [embedding_column(modality) for modality in table.info.modalities]
        vectors = ", ".join(f"CAST({name}, 'Array(Float32)') AS {name}" for name in names)
        found = table.connection.query(f"SELECT id, {vectors} {rows}")
        others = ", ".join(backquote(name) for name in table.columns if name not in names)
        return cls(
            found.column("id").to_pylist(),
            {name: vectors_of(found.column(name), table.info.dim) for name in names},
            table.connection.columns(f"SELECT {others} {rows}"),
        )


def _differences(rows: pa.Table, stored: _Stored) -> Iterator[tuple[str, int]]:
    """The columns in which ``rows`` have other values than are stored, each with the number of the
    first such row in its shard."""
    for name in rows.column_names:
        column = rows.column(name)
        if name in stored.vectors:
            actual = stored.vectors[name]
            expected = column.combine_chunks().flatten().to_numpy().astype(np.float32)
            are_same = (expected.reshape(actual.shape).view("u4") == actual.view("u4")).all(axis=1)
        else:
            slack = _COMPUTED if name in _COMPUTED_COLUMNS else 0.0
            pairs = zip(_values(column), stored.values.get(name, ()), strict=True)
            are_same = np.array([_same(one, other, slack) for one, other in pairs], np.bool_)
        if not are_same.all():
            yield name, stored.ids[int(are_same.argmin())] & (2**ID_BITS - 1)


def _values(column: pa.ChunkedArray) -> Sequence[Any]:
    """A file's values as Python's; of times, which the engine's driver gives to the microsecond,
    the rest is cut off."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values


def _same(expected: Any, actual: Any, slack: float) -> bool:
    if isinstance(expected, list):
        is_list = isinstance(actual, list | tuple) and len(actual) == len(expected)
        return is_list and all(_same(*pair, slack) for pair in zip(expected, actual, strict=True))
    if isinstance(expected, float) and isinstance(actual, float):
        if math.isnan(expected) or math.isnan(actual):
            return math.isnan(expected) and math.isnan(actual)
        return expected == actual or abs(expected - actual) <= slack
    if isinstance(expected, datetime) and isinstance(actual, datetime):
        return expected.replace(tzinfo=None) == actual.replace(tzinfo=None)
    return bool(expected == actual)
