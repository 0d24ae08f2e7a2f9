"""Metadata files: the parquet columns of LAION, clip-retrieval and img2dataset under one name each.

Text columns become Arrow binary, so that captions and urls keep every byte even where they are not
UTF-8. Nulls, absent columns and numbers that are none become: text '', width and height 0,
similarity NaN (unknown).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cliphouse.errors import ShardError
from cliphouse.shards.files import DataFile

TEXT_COLUMNS = ("url", "caption", "NSFW", "license")
SIZE_COLUMNS = ("width", "height")
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_SYNONYMS = {  # lower-cased names as they are found in the wild, the preferred one first
    "url": ("url",),
    "caption": ("caption", "text"),
    "NSFW": ("nsfw",),
    "license": ("license", "licence"),
    "similarity": ("similarity",),
    "width": ("width",),
    "height": ("height",),
    "image_path": ("image_path",),
}


@dataclass(frozen=True)
class MetadataFile:
    """A validated metadata file. ``columns`` maps our names to the file's."""

    file: DataFile
    rows: int
    row_bytes: int
    columns: dict[str, str]

    @classmethod
    def open(cls, file: DataFile) -> MetadataFile:
        """Read the footer. Raises ShardError where the file is no parquet."""
        try:
            with file.open() as stream:
                parquet = pq.ParquetFile(stream)
                names = parquet.schema_arrow.names
                groups = [
                    parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)
                ]
                rows = parquet.metadata.num_rows
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise ShardError(f"{file.path}: not a readable parquet file: {reason}") from error
        needed = _match(names)
        if twice := [name for name in needed.values() if names.count(name) > 1]:
            raise ShardError(f"{file.path}: has the column {twice[0]} twice; keep one of them")
        size = sum(group.total_byte_size for group in groups)
        return cls(file, rows, -(-size // max(rows, 1)), needed)

    @cached_property
    def has_similarity(self) -> bool:
        return "similarity" in self.columns

    def read(self, start: int, stop: int, batch_rows: int) -> Iterator[pa.Table]:
        """Rows [start, stop) as tables of ``batch_rows`` (the last may be shorter).

        Columns: url, caption, NSFW, license (binary), similarity (float32), width, height (int32).
        """
        pending: list[pa.Table] = []
        waiting = 0
        for piece in self._pieces(start, stop, batch_rows):
            pending.append(piece)
            waiting += piece.num_rows
            while waiting >= batch_rows:
                whole = pa.concat_tables(pending)
                yield self._convert(whole.slice(0, batch_rows))
                pending, waiting = [whole.slice(batch_rows)], waiting - batch_rows
        if waiting:
            yield self._convert(pa.concat_tables(pending))

    def _pieces(self, start: int, stop: int, batch_rows: int) -> Iterator[pa.Table]:
        """The file's own batches, cut to [start, stop), without reading row groups outside it."""
        names = list(self.columns.values())
        if not names:  # pyarrow yields no rows where no columns are asked for
            yield pa.table({"": pa.nulls(stop - start)}) if stop > start else pa.table({"": []})
            return
        try:
            with self.file.open() as stream:
                parquet = pq.ParquetFile(stream)
                group_start, chosen, position = 0, [], None
                for index in range(parquet.metadata.num_row_groups):
                    group_stop = group_start + parquet.metadata.row_group(index).num_rows
                    if group_stop > start and group_start < stop:
                        chosen.append(index)
                        position = group_start if position is None else position
                    group_start = group_stop
                for batch in parquet.iter_batches(batch_rows, chosen, names, use_threads=False):
                    assert position is not None
                    low, high = max(start - position, 0), min(stop - position, batch.num_rows)
                    position += batch.num_rows
                    if high > low:
                        yield pa.Table.from_batches([batch.slice(low, high - low)])
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise ShardError(f"{self.file.path}: damaged parquet file: {reason}") from error

    def _convert(self, table: pa.Table) -> pa.Table:
        columns = {name: self._text(table, name) for name in TEXT_COLUMNS}
        path = self._text(table, "image_path")
        if "image_path" in self.columns:
            columns["url"] = pc.if_else(pc.equal(columns["url"], b""), path, columns["url"])
        similarity = self._number(table, "similarity", pa.float32())
        columns["similarity"] = pc.fill_null(similarity, float("nan"))
        for name in SIZE_COLUMNS:
            columns[name] = pc.fill_null(self._number(table, name, pa.int32()), 0)
        return pa.table(columns)

    def _text(self, table: pa.Table, name: str) -> pa.ChunkedArray:
        if name not in self.columns:
            return pa.chunked_array([pa.array([b""]).take(np.zeros(table.num_rows, np.int64))])
        column = table.column(self.columns[name])
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        try:
            if not _is_bytes(column.type):
                column = column.cast(pa.string())
            return pc.fill_null(column.cast(pa.binary()), b"")
        except pa.ArrowException as error:
            raise self._wrong_type(name, column.type) from error

    def _number(self, table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        if name not in self.columns:
            return pa.chunked_array([pa.nulls(table.num_rows, kind)])
        column = table.column(self.columns[name])
        try:
            if _is_bytes(column.type):
                column = column.cast(pa.binary()).cast(pa.string(), safe=False)
                is_number = pc.match_substring_regex(column, _NUMBER)
                column = pc.utf8_trim_whitespace(pc.if_else(is_number, column, None))
            column = column.cast(pa.float64(), safe=False)
            if pa.types.is_integer(kind):
                fits = pc.and_(pc.is_finite(column), pc.less(pc.abs(column), 2.0**31))
                column = pc.round(pc.if_else(fits, column, None))
            return column.cast(kind, safe=False)
        except pa.ArrowException as error:
            raise self._wrong_type(name, column.type) from error

    def _wrong_type(self, name: str, kind: pa.DataType) -> ShardError:
        return ShardError(
            f"{self.file.path}: column {self.columns[name]} ({kind}) cannot be read as {name}"
        )


def _is_bytes(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_string_view,
            pa.types.is_binary_view,
        )
    )


def _match(names: list[str]) -> dict[str, str]:
    by_lower: dict[str, str] = {}
    for name in names:
        by_lower.setdefault(name.lower(), name)
    return {
        ours: by_lower[theirs]
        for ours, synonyms in _SYNONYMS.items()
        for theirs in reversed(synonyms)
        if theirs in by_lower
    }
