"""The rows of one shard while they change. What stays as it is stays in Arrow: a shard has
thousands of rows, and a change concerns a few."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cliphouse.pictures.encode import Entry, Rows
from cliphouse.pictures.known import SCHEMA, KnownShard, schema_with_next_row
from cliphouse.shards.fields import ROW_COLUMN


@dataclass(frozen=True)
class FinishedRows:
    """Rows as they are written: two arrays of shape (rows, dim), and their metadata."""

    image: NDArray[np.floating[Any]]
    text: NDArray[np.floating[Any]]
    metadata: pa.Table


class ShardRows:
    """The rows of a shard: ``image`` and ``text`` are arrays of shape (rows, dim), which callers
    may write to."""

    def __init__(self, before: KnownShard | None, dim: int) -> None:
        """Read the rows of the shard as it was ``before``; None for a new one."""
        self._next_row = before.next_row if before else 0
        self.image: NDArray[np.floating[Any]] = np.empty((0, dim), np.float16)
        self.text: NDArray[np.floating[Any]] = np.empty((0, dim), np.float16)
        self._metadata = SCHEMA.empty_table()
        if before is not None:
            shard = before.shard
            assert shard.text is not None
            self.image, self.text = np.load(shard.image.path), np.load(shard.text.path)
            # pq.read_table would take half a second to import what it reads one file with.
            self._metadata = _whole(pq.ParquetFile(shard.metadata.path).read())
        self._numbers = self._metadata.column(ROW_COLUMN)
        self._entries: dict[int, Entry] = {}

    def entries(self, places: Sequence[int]) -> list[Entry]:
        """The metadata of the rows at ``places``, as it was."""
        found: list[Entry] = self._metadata.take(pa.array(places, pa.int64())).to_pylist()
        return found

    def describe(self, place: int, entry: Entry) -> None:
        """Give the row at ``place`` other metadata. It keeps its number."""
        self._entries[place] = {**entry, ROW_COLUMN: self._numbers[place].as_py()}

    def finished(self, removed: Collection[int], added: Rows) -> FinishedRows:
        """The rows but those at the places ``removed``, and then those of ``added``, which get the
        next numbers."""
        rows, next_row = len(self.image), self._next_row + len(added)
        stay = [place for place in range(rows) if place not in removed]
        numbers = range(self._next_row, next_row)
        new = [
            {**entry, ROW_COLUMN: number}
            for entry, number in zip(added.entries, numbers, strict=True)
        ]
        others = pa.Table.from_pylist([*self._entries.values(), *new], schema=SCHEMA)
        places = {place: rows + offset for offset, place in enumerate(self._entries)}
        chosen = [places.get(place, place) for place in stay]
        chosen += range(rows + len(places), rows + len(others))
        metadata = pa.concat_tables([self._metadata, others]).take(pa.array(chosen, pa.int64()))
        return FinishedRows(
            np.concatenate([self.image[stay], added.image.astype(self.image.dtype)]),
            np.concatenate([self.text[stay], added.text.astype(self.text.dtype)]),
            metadata.replace_schema_metadata(schema_with_next_row(next_row).metadata),
        )


def _whole(metadata: pa.Table) -> pa.Table:
    """Metadata with all columns, of which those of earlier releases lack some."""
    rows = metadata.num_rows
    columns = []
    for field in SCHEMA:
        if field.name in metadata.column_names:
            columns.append(metadata.column(field.name).cast(field.type))
        elif field.name == ROW_COLUMN:
            columns.append(pa.array(range(rows), pa.int64()))
        else:
            columns.append(pa.nulls(rows, field.type))
    return pa.table(columns, schema=SCHEMA)
