"""Metadata files: the parquet columns of LAION, clip-retrieval and img2dataset under the names that
the caller asks for.

Text columns become Arrow binary, so that captions and urls keep every byte even if they are not
UTF-8. Nulls, absent columns and texts that are not numbers become the field's ``absent`` value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cliphouse.errors import ShardError
from cliphouse.shards.fields import ROW_COLUMN, KeptColumn, MetadataField
from cliphouse.shards.files import DataFile
from cliphouse.shards.kept import as_kept, no_values
from cliphouse.shards.numbering import ID_BITS

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class MetadataFile:
    """A metadata file with a readable footer. ``schema`` are its columns with their types."""

    file: DataFile
    rows: int
    row_bytes: int
    schema: pa.Schema

    @property
    def names(self) -> list[str]:
        names: list[str] = self.schema.names
        return names

    @classmethod
    def open(cls, file: DataFile) -> MetadataFile:
        """Read the footer. Raises ShardError if the file is not parquet."""
        try:
            with file.open() as stream:
                parquet = pq.ParquetFile(stream)
                schema = parquet.schema_arrow.remove_metadata()
                groups = [
                    parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)
                ]
                rows = parquet.metadata.num_rows
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise ShardError(f"{file.path}: not a readable parquet file: {reason}") from error
        size = sum(group.total_byte_size for group in groups)
        return cls(file, rows, -(-size // max(rows, 1)), schema)

    def match(self, fields: Sequence[MetadataField]) -> dict[str, tuple[str, ...]]:
        """The file's columns for each of the fields: the field's own column, then its fallbacks.

        Raises ShardError if the file has such a column twice.
        """
        by_lower: dict[str, str] = {}
        for name in self.names:
            by_lower.setdefault(name.lower(), name)
        found = {}
        for field in fields:
            own = [by_lower[name] for name in field.spellings if name in by_lower][:1]
            fallbacks = [by_lower[name] for name in field.fallbacks if name in by_lower]
            if own or fallbacks:
                found[field.name] = (*own, *fallbacks)
        for name in _flat(found):
            if self.names.count(name) > 1:
                raise ShardError(f"{self.file.path}: has the column {name} twice; keep one of them")
        return found

    def row_numbers(self) -> NDArray[np.int64] | None:
        """The numbers of the rows in their shard, rising, int64 of shape (rows,), as the column
        ROW_COLUMN has them; None if there is no such column.

        Raises ShardError if the column is not of rising numbers.
        """
        if ROW_COLUMN not in self.names:
            return None
        table = self.sample([ROW_COLUMN], self.rows)
        try:
            numbers = table.column(ROW_COLUMN).cast(pa.int64()).to_numpy()
        except pa.ArrowException as error:
            raise ShardError(f"{self.file.path}: column {ROW_COLUMN} has no numbers") from error
        rising = np.asarray(numbers, np.float64)  # in which a null is NaN, and rises above nothing
        limit = 2**ID_BITS
        if len(rising) and not (
            rising[0] >= 0 and rising[-1] < limit and bool((np.diff(rising) > 0).all())
        ):
            raise ShardError(
                f"{self.file.path}: column {ROW_COLUMN} must have rising numbers from 0 on"
            )
        return np.asarray(numbers, np.int64)

    def sample(self, names: Sequence[str], rows: int) -> pa.Table:
        """The first ``rows`` rows of some columns, as the file has them."""
        pieces = list(self._pieces(list(names), 0, min(rows, self.rows), max(rows, 1)))
        return pa.concat_tables(pieces) if pieces else self.schema.empty_table().select(names)

    def read(
        self,
        fields: Sequence[MetadataField],
        start: int,
        stop: int,
        batch_rows: int,
        kept: Sequence[KeptColumn] = (),
    ) -> Iterator[pa.Table]:
        """Rows [start, stop) as tables of ``batch_rows`` (the last may be shorter), with a column
        for each field and each kept column.

        Raises ShardError as ``match`` does, and if the file is damaged or a column cannot be read
        as its field or as it is kept.
        """
        found = self.match(fields)
        sources = [column.source for column in kept if column.source in self.names]
        pending: list[pa.Table] = []
        waiting = 0
        names = list(dict.fromkeys([*_flat(found), *sources]))
        for piece in self._pieces(names, start, stop, batch_rows):
            pending.append(piece)
            waiting += piece.num_rows
            while waiting >= batch_rows:
                joined = pa.concat_tables(pending)
                yield self._convert(joined.slice(0, batch_rows), fields, found, kept)
                pending, waiting = [joined.slice(batch_rows)], waiting - batch_rows
        if waiting:
            yield self._convert(pa.concat_tables(pending), fields, found, kept)

    def _pieces(
        self, names: list[str], start: int, stop: int, batch_rows: int
    ) -> Iterator[pa.Table]:
        """The file's own batches, cut to [start, stop), without reading row groups outside it."""
        if not names:  # pyarrow yields no rows if no columns are asked for
            yield pa.table({"": pa.nulls(stop - start)}) if stop > start else pa.table({"": []})
            return
        try:
            with self.file.open() as stream:
                parquet = pq.ParquetFile(stream)
                chosen, position = _row_groups(parquet.metadata, start, stop)
                for batch in parquet.iter_batches(batch_rows, chosen, names, use_threads=False):
                    low, high = max(start - position, 0), min(stop - position, batch.num_rows)
                    position += batch.num_rows
                    if high > low:
                        yield pa.Table.from_batches([batch.slice(low, high - low)])
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise ShardError(f"{self.file.path}: damaged parquet file: {reason}") from error

    def _convert(
        self,
        table: pa.Table,
        fields: Sequence[MetadataField],
        found: dict[str, tuple[str, ...]],
        kept: Sequence[KeptColumn],
    ) -> pa.Table:
        columns = {}
        for field in fields:
            read = self._text if field.type == "binary" else self._number
            values = [read(table, name, field) for name in found.get(field.name, ())]
            columns[field.name] = _filled(values, field, table.num_rows)
        for column in kept:
            columns[column.name] = self._kept(table, column)
        return pa.table(columns)

    def _kept(self, table: pa.Table, column: KeptColumn) -> pa.ChunkedArray:
        if column.source not in table.column_names:
            return no_values(column, table.num_rows)
        values = table.column(column.source)
        try:
            return as_kept(values, column)
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())[:200]
            raise ShardError(
                f"{self.file.path}: column {column.source} ({values.type}) cannot be read as "
                f"{column.sql}: {reason}"
            ) from error

    def _text(self, table: pa.Table, name: str, field: MetadataField) -> pa.ChunkedArray:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        try:
            if not _is_bytes(column.type):
                column = column.cast(pa.string())
            return column.cast(pa.binary())
        except pa.ArrowException as error:
            raise self._wrong_type(name, field, column.type) from error

    def _number(self, table: pa.Table, name: str, field: MetadataField) -> pa.ChunkedArray:
        column, kind = table.column(name), pa.type_for_alias(field.type)
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
            raise self._wrong_type(name, field, column.type) from error

    def _wrong_type(self, name: str, field: MetadataField, kind: pa.DataType) -> ShardError:
        return ShardError(
            f"{self.file.path}: column {name} ({kind}) cannot be read as {field.name}"
        )


def _row_groups(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that have rows of [start, stop), and the first row of the first of them."""
    chosen: list[int] = []
    group_start = first_row = 0
    for index in range(metadata.num_row_groups):
        group_stop = group_start + metadata.row_group(index).num_rows
        if group_stop > start and group_start < stop:
            first_row = first_row if chosen else group_start
            chosen.append(index)
        group_start = group_stop
    return chosen, first_row


def _flat(found: dict[str, tuple[str, ...]]) -> list[str]:
    """The file's columns that are needed, each once."""
    return list(dict.fromkeys(name for names in found.values() for name in names))


def _filled(values: Sequence[pa.ChunkedArray], field: MetadataField, rows: int) -> pa.ChunkedArray:
    """The first of the columns, with its missing values taken from the columns after it."""
    absent = pa.scalar(
        field.absent.encode() if isinstance(field.absent, str) else field.absent,
        pa.type_for_alias(field.type),
    )
    if not values:
        return pa.chunked_array([pa.repeat(absent, rows)])
    column, *others = (pc.fill_null(value, absent) for value in values)
    for other in others:
        column = pc.if_else(pc.equal(column, absent), other, column)
    return column


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
