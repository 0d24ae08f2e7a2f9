"""Metadata files: the parquet columns of LAION, clip-retrieval and img2dataset under the names that
the caller asks for.

Text columns become Arrow binary, so that captions and urls keep every byte even if they are not
UTF-8. If a file has several columns for one field, such as caption and TEXT, each row takes the
first of them that is not null. What is then null or not a number, and absent columns, become the
field's ``absent`` value.
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
from cliphouse.shards.kept import as_kept, no_values, plain
from cliphouse.shards.numbering import ID_BITS

_CHECK_ROWS = 16_384
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class Matched:
    """A file's columns for one field: its ``own``, the first of which counts unless it is null, and
    the ``fallbacks`` for rows without a value."""

    own: tuple[str, ...]
    fallbacks: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.own, *self.fallbacks)


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
            reason = _one_line(error)
            raise ShardError(f"{file.path}: not a readable parquet file: {reason}") from error
        size = sum(group.total_byte_size for group in groups)
        return cls(file, rows, -(-size // max(rows, 1)), schema)

    def match(self, fields: Sequence[MetadataField]) -> dict[str, Matched]:
        """The file's columns for each of the fields that it has.

        Raises ShardError if the file has such a column twice.
        """
        by_lower: dict[str, list[str]] = {}
        for name in dict.fromkeys(self.names):
            by_lower.setdefault(name.lower(), []).append(name)
        found = {}
        for field in fields:
            own, fallbacks = (
                tuple(name for spelling in spellings for name in by_lower.get(spelling, ()))
                for spellings in (field.spellings, field.fallbacks)
            )
            if own or fallbacks:
                found[field.name] = Matched(own, fallbacks)
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

    def damaged_columns(self) -> Iterator[str]:
        """Read every page of every column, with its checksum if it has one; names each column that
        cannot be read, with the reason. Text need not be UTF-8."""
        for name in dict.fromkeys(self.names):
            try:
                with self.file.open() as stream:
                    parquet = pq.ParquetFile(stream, page_checksum_verification=True)
                    for batch in parquet.iter_batches(_CHECK_ROWS, columns=[name]):
                        batch.validate()
            except (OSError, pa.ArrowException) as error:
                yield f"column {name} is damaged: {_one_line(error)}"

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
                parquet = pq.ParquetFile(stream, page_checksum_verification=True)
                chosen, position = _row_groups(parquet.metadata, start, stop)
                for batch in parquet.iter_batches(batch_rows, chosen, names, use_threads=False):
                    low, high = max(start - position, 0), min(stop - position, batch.num_rows)
                    position += batch.num_rows
                    if high > low:
                        yield pa.Table.from_batches([batch.slice(low, high - low)])
        except (OSError, pa.ArrowException) as error:
            raise ShardError(
                f"{self.file.path}: damaged parquet file: {_one_line(error)}"
            ) from error

    def _convert(
        self,
        table: pa.Table,
        fields: Sequence[MetadataField],
        found: dict[str, Matched],
        kept: Sequence[KeptColumn],
    ) -> pa.Table:
        columns = {}
        for field in fields:
            read = self._text if field.type == "binary" else self._number
            there = found.get(field.name, Matched(()))
            own = [read(table, name, field) for name in there.own]
            others = [read(table, name, field) for name in there.fallbacks]
            first = [pc.coalesce(*own)] if own else []
            columns[field.name] = _filled([*first, *others], field, table.num_rows)
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
            raise ShardError(
                f"{self.file.path}: column {column.source} ({values.type}) cannot be read as "
                f"{column.sql}: {_one_line(error)}"
            ) from error

    def _text(self, table: pa.Table, name: str, field: MetadataField) -> pa.ChunkedArray:
        column = plain(table.column(name))
        try:
            if not _is_bytes(column.type):
                column = column.cast(pa.string())
            return column.cast(pa.binary())
        except pa.ArrowException as error:
            raise self._wrong_type(name, field, column.type) from error

    def _number(self, table: pa.Table, name: str, field: MetadataField) -> pa.ChunkedArray:
        column, kind = plain(table.column(name)), pa.type_for_alias(field.type)
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


def _flat(found: dict[str, Matched]) -> list[str]:
    """The file's columns that are needed, each once."""
    return list(dict.fromkeys(name for matched in found.values() for name in matched.names))


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


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
