"""A parquet file of img2dataset's: a column with the bytes of pictures beside their metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from cliphouse.errors import ShardError
from cliphouse.pictures.datasets.member import Member
from cliphouse.shards.files import DataFile

_PICTURES = ("jpg", "png", "webp")  # the column's name, as img2dataset's encode_format
_CAPTIONS = "txt"
_ROWS = 64  # that are read at once


def picture_column(schema: pa.Schema) -> str | None:
    """The column that holds the pictures; None if there is none."""
    for name in _PICTURES:
        kinds = [field.type for field in schema if field.name == name]
        if any(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in kinds):
            return name
    return None


@dataclass(frozen=True)
class TableInput:
    """A parquet file with a column of pictures."""

    file: DataFile
    number: int

    def members(self) -> Iterator[Member[pa.RecordBatch]]:
        try:
            with self.file.open() as stream:
                parquet = pq.ParquetFile(stream)
                pictures = self._checked(parquet.schema_arrow)
                row_bytes = self.file.size / max(parquet.metadata.num_rows, 1)
                start = 0
                for batch in parquet.iter_batches(_ROWS, use_threads=False):
                    yield from _members(batch, pictures, start, row_bytes)
                    start += batch.num_rows
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())[:200]
            raise ShardError(f"{self.file.path}: damaged parquet file: {reason}") from error

    def table(self, rows: Sequence[pa.RecordBatch | None]) -> pa.Table:
        batches = [row.replace_schema_metadata() for row in rows if row is not None]
        return pa.Table.from_batches(batches).combine_chunks()

    def _checked(self, schema: pa.Schema) -> str:
        """The column of pictures."""
        pictures = picture_column(schema)
        if pictures is None:
            raise ShardError(f"{self.file.path}: no column {' or '.join(_PICTURES)}")
        for name in schema.names:
            if schema.names.count(name) > 1:
                raise ShardError(f"{self.file.path}: has the column {name} twice; keep one of them")
        return pictures


def _members(
    batch: pa.RecordBatch, pictures: str, start: int, row_bytes: float
) -> Iterator[Member[pa.RecordBatch]]:
    names = batch.schema.names
    metadata = batch.select([name for name in names if name not in (pictures, _CAPTIONS)])
    captions = _texts(batch, _CAPTIONS if _CAPTIONS in names else "caption")
    keys, states = _texts(batch, "key"), _texts(batch, "status")
    for index, picture in enumerate(batch.column(pictures)):
        key = keys[index] or f"row {start + index}"
        read = round((start + index + 1) * row_bytes)
        if picture.as_py():
            row = metadata.slice(index, 1)
            yield Member(key, key, picture.as_py(), captions[index], row, read=read)
        else:
            is_absent = states[index] not in ("", "success")
            yield Member(key, key, fault="no picture", is_absent=is_absent, read=read)


def _texts(batch: pa.RecordBatch, name: str) -> list[str]:
    """The texts of a column; empty for nulls, for other values and if there is no such column."""
    if name not in batch.schema.names:
        return [""] * batch.num_rows
    values = batch.column(name).to_pylist()
    return [value if isinstance(value, str) else "" for value in values]
