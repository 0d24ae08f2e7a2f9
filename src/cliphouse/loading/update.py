"""Bringing the rows of a shard of pictures up to date, row by row.

Each row of such a shard says which file it is of: path, caption, size, time and hash of the bytes.
The table keeps the same, so the two can be compared: rows of the table that the shard does not have
like this are deleted, and rows that the table then lacks are inserted. Whatever a killed run has
left, the next one ends with the rows of the shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import pyarrow as pa

from cliphouse.engine.quoting import identifier
from cliphouse.loading.fill import id_range
from cliphouse.loading.lease import Lease
from cliphouse.loading.ledger import Entry, describe_files
from cliphouse.loading.load import ShardLoad, ShardWork
from cliphouse.schema.columns import COLUMNS, metadata_fields
from cliphouse.schema.info import TableInfo
from cliphouse.shards.fields import KeptColumn
from cliphouse.shards.source import LocalShard, ShardSource, Source

_DESCRIBED = ("url", "caption")
_OF_FILES = ("file_bytes", "file_mtime_ns", "file_hash")
_DELETED_AT_ONCE = 1000


def is_row_by_row(source: Source, info: TableInfo) -> bool:
    """Whether the rows of a shard, and of a table with ``info``, say which files they are of."""
    if not isinstance(source, ShardSource) or source.reader.numbers is None:
        return False
    names = source.reader.metadata.names
    kept = {column.source for column in info.kept}
    return all(name in names and name in kept for name in _OF_FILES)


class Updater(ShardWork):
    """Updates shards of one table."""

    def update(self, shard: LocalShard, lease: Lease) -> ShardLoad:
        """Make the table's rows of a shard, for which `is_row_by_row` holds, those of its files.

        Between the two steps changed rows are missing. Raises LeaseLostError if another worker has
        the shard now, ShardError if a vector is bad.
        """
        source, name = shard.source, self._table.name
        shard.check_values()
        known = self._ledger.read(source.number).get(source.number)
        files = describe_files(shard)
        # The engine may know the tokens of an earlier round with these files.
        is_begun = known is not None and (known.state, known.files) == ("loading", files)
        attempt = known.attempt + (0 if is_begun else 1) if known else 1
        entry = Entry(source.number, "loading", shard.reader.rows, files, attempt=attempt)
        with self._counter.undone_if_lost():
            self._leases.confirm(lease, at_once=True)
            stale = self._stale(shard)
            self._leases.record(lease, entry)
            self._delete(stale, source, lease)
            missing = self._filler.missing(name, shard)
            inserted = self._filler.fill(name, shard, missing, entry, lease)
            self._leases.record(lease, replace(entry, state="done"))
        return ShardLoad(
            source.number, shard.reader.rows, inserted, updated=True, removed=len(stale)
        )

    def _stale(self, shard: LocalShard) -> list[int]:
        """The ids of the table's rows that the shard does not have like this."""
        names = [*_DESCRIBED, *(identifier(column.name) for column in self._kept)]
        found = self._table.connection.query(
            f"SELECT id, {', '.join(names)} FROM {self._table.sql} "
            f"WHERE {id_range(shard.source)} ORDER BY id{self._table.placement.consistent}"
        )
        there = _by_id(found.column("id").to_pylist(), found.drop_columns(["id"]))
        wanted = _wanted(shard, self._kept)
        return [row_id for row_id, values in there.items() if wanted.get(row_id) != values]

    def _delete(self, ids: Sequence[int], source: Source, lease: Lease) -> None:
        if not ids:
            return
        self._table.placement.check_reachable(
            self._table.connection, "no rows can be deleted on all of them"
        )
        left = iter(ids)
        while some := list(islice(left, _DELETED_AT_ONCE)):
            self._leases.confirm(lease)
            self._delete_rows(f"id IN ({', '.join(map(str, some))})")
        self._confirm_after_deletion(source, lease)

    @property
    def _kept(self) -> list[KeptColumn]:
        """The table's columns that say which file a row is of."""
        return [column for column in self._table.info.kept if column.source in _OF_FILES]


def _wanted(shard: LocalShard, kept: Sequence[KeptColumn]) -> dict[int, tuple[object, ...]]:
    reader = shard.reader
    fields = [field for field in metadata_fields(COLUMNS) if field.name in _DESCRIBED]
    rows: dict[int, tuple[object, ...]] = {}
    start = 0
    for table in reader.metadata.read(fields, 0, reader.rows, max(reader.rows, 1), kept):
        ids = reader.ids(start, start + table.num_rows).tolist()
        start += table.num_rows
        names = [*_DESCRIBED, *(column.name for column in kept)]
        rows |= _by_id(ids, table.select(names))
    return rows


def _by_id(ids: Sequence[int], columns: pa.Table) -> dict[int, tuple[object, ...]]:
    """Each row's values, text as bytes, by id."""
    values = (_plain(column).to_pylist() for column in columns.columns)
    return {row_id: tuple(row) for row_id, *row in zip(ids, *values, strict=True)}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.binary()) if pa.types.is_string(column.type) else column
