"""Reading one shard as aligned Arrow batches, in memory bounded by the batch, not the shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cliphouse.errors import ShardError
from cliphouse.shards.fields import KeptColumn, MetadataField
from cliphouse.shards.files import Shard
from cliphouse.shards.metadata import MetadataFile
from cliphouse.shards.npy import NpyFile
from cliphouse.shards.numbering import ID_BITS


@dataclass(frozen=True)
class BatchLimits:
    """The most that a batch may hold: ``rows``, and ``bytes`` as they are estimated."""

    rows: int = 10_000
    bytes: int = 128 * 2**20


BATCH_LIMITS = BatchLimits()


@dataclass(frozen=True)
class ShardReader:
    """The checked files of one shard. Row i of each file belongs to row i of the others.

    ``numbers`` are the numbers of the rows within the shard, of which their ids are made: rising,
    int64 of shape (rows,). None is for 0, 1, 2 ..., as in all shards that no rows are taken out of.
    """

    shard: Shard
    image: NpyFile
    text: NpyFile | None
    metadata: MetadataFile
    numbers: NDArray[np.int64] | None = field(compare=False)
    limits: BatchLimits = BATCH_LIMITS

    @classmethod
    def open(cls, shard: Shard) -> ShardReader:
        """Read the headers. Raises ShardError if the files do not fit together."""
        image = NpyFile.open(shard.image)
        text = NpyFile.open(shard.text) if shard.text is not None else None
        metadata = MetadataFile.open(shard.metadata)
        counts = {shard.image.path: image.rows, shard.metadata.path: metadata.rows}
        if text is not None:
            counts[text.file.path] = text.rows
            if text.dim != image.dim:
                raise ShardError(
                    f"shard {shard.number}: {text.file.path} has dimension {text.dim}, "
                    f"{image.file.path} has {image.dim}"
                )
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{path} has {rows:,} rows" for path, rows in counts.items())
            raise ShardError(f"shard {shard.number} does not line up: {listed}; fetch it again")
        if image.rows >= 2**ID_BITS:
            raise ShardError(
                f"{image.file.path}: {image.rows:,} rows, but a shard has fewer than 2^32"
            )
        return cls(shard, image, text, metadata, metadata.row_numbers())

    @property
    def rows(self) -> int:
        return self.image.rows

    @property
    def dim(self) -> int:
        return self.image.dim

    def ids(self, start: int, stop: int) -> NDArray[np.int64]:
        """The ids of the rows [start, stop), int64, rising."""
        first_id = self.shard.number << ID_BITS
        if self.numbers is None:
            return first_id + np.arange(start, stop, dtype=np.int64)
        return first_id + self.numbers[start:stop]

    def place(self, row_id: int) -> int:
        """Where the files have the row with this id of the shard's."""
        number = row_id & (2**ID_BITS - 1)
        return number if self.numbers is None else int(np.searchsorted(self.numbers, number))

    @property
    def batch_rows(self) -> int:
        """Rows of a batch: always the same for the same files, fewer if captions are huge."""
        floats = self.dim * (2 if self.text else 1) * 4
        row_bytes = floats + self.metadata.row_bytes
        return max(1, min(self.limits.rows, self.limits.bytes // row_bytes))

    def check_values(self) -> None:
        """Raises ShardError, with row numbers, if a vector has no direction."""
        for npy in (self.image, self.text):
            if npy is not None:
                npy.check_values()

    def batches(
        self,
        fields: Sequence[MetadataField],
        start: int = 0,
        stop: int | None = None,
        kept: Sequence[KeptColumn] = (),
    ) -> Iterator[pa.Table]:
        """Rows [start, stop) as tables of at most ``batch_rows``.

        Columns: id (int64), ``fields`` and ``kept`` as MetadataFile.read gives them,
        image_embedding and, if the shard has it, text_embedding (fixed-size lists of dim float16 or
        float32, as stored).
        Raises ShardError as MetadataFile.read does.
        """
        stop = self.rows if stop is None else stop
        found = self.metadata.match(fields)
        to_compute = [f.name for f in fields if f.is_pair_cosine and f.name not in found]
        for table in self.metadata.read(fields, start, stop, self.batch_rows, kept):
            end = start + table.num_rows
            table = table.add_column(0, "id", pa.array(self.ids(start, end)))
            image = np.ascontiguousarray(self.image.read(start, end))
            table = table.append_column("image_embedding", _as_lists(image))
            if self.text is not None:
                text = np.ascontiguousarray(self.text.read(start, end))
                table = table.append_column("text_embedding", _as_lists(text))
                for name in to_compute:
                    table = _set(table, name, pa.array(_row_cosine(image, text)))
            yield table
            start = end


def _as_lists(rows: NDArray[np.floating]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _row_cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float32]:
    a, b = a.astype(np.float32), b.astype(np.float32)
    dots = np.einsum("ij,ij->i", a, b)
    norms = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    cosine: NDArray[np.float32] = (dots / norms).astype(np.float32)
    return cosine


def _set(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)
