"""A shard's rows into a table: each once, however often the load is killed and started again.

Rows that the table has already are found by id. Batches lie on a fixed grid. All missing rows of
one batch are sent in one insert under the batch's token, which is made from the file's checksum,
the shard and the place in the grid. The engine keeps the first insert of a token and drops later
ones whole.

Why no row is doubled: let worker A be slow, B take over its lease, and A send a batch nevertheless.
B claimed the shard before it looked for missing rows, and sends only what it found missing.

- If A's insert arrives before B looks, B does not send these rows.
- If it arrives between B's look and B's insert of the same batch, the engine drops B's insert; A's
  held all rows that are missing.
- If it arrives after B's insert, the engine drops A's insert, as long as it remembers the token (it
  keeps the last 10,000). A worker that was stopped for longer confirms its lease before it sends.
- On a cluster a batch is divided among the shards, each of which remembers the token of its own
  part: the same holds for each part, and B finds a part missing that never arrived.

If rows were deleted by hand while the engine remembers their tokens, it drops their inserts, and
the next look still finds them missing. They are then sent in another round, whose number is part of
the token. A worker writes the number to the ledger before the first insert of the round, and begins
with the last number there. So A and B send the same rows under the same token in later rounds too,
and take a new number only when the engine has dropped or kept the whole last round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cliphouse.engine.quoting import identifier
from cliphouse.errors import EngineError, TableError
from cliphouse.loading.bfloat16 import round_to_bfloat16
from cliphouse.loading.inserter import Batch, Inserter
from cliphouse.loading.lease import Lease, LeaseLostError, Leases
from cliphouse.loading.ledger import Entry
from cliphouse.loading.prefetch import prefetch
from cliphouse.loading.tokens import token_settings
from cliphouse.schema.columns import COLUMNS, embedding_column, metadata_fields
from cliphouse.schema.handle import TableHandle
from cliphouse.shards.reader import BatchLimits
from cliphouse.shards.source import LocalShard, Source
from cliphouse.vocabulary import Progress

_ROUNDS = 3
_PARTS_BEFORE_MERGES = 500  # the engine slows inserts down from 1,000 parts on
# A vector index is built by `index`, at a time the user chooses.
_NO_INDEX = {"materialize_skip_indexes_on_insert": 0}


@dataclass
class RowCounter:
    """Counts the rows of a run that are in the table, and reports them."""

    total: int
    progress: Progress | None = None
    done: int = 0

    def add(self, rows: int) -> None:
        self.done += rows
        if self.progress:
            self.progress(self.done, self.total)

    @contextmanager
    def undone_if_lost(self) -> Iterator[None]:
        """Take the block's rows back if the lease is lost: they are counted when the worker that
        took over has loaded the shard."""
        before = self.done
        try:
            yield
        except LeaseLostError:
            self.done = before
            raise


class ShardFiller:
    """Inserts the rows of shards that a table lacks."""

    def __init__(
        self,
        table: TableHandle,
        leases: Leases,
        inserter: Inserter,
        workspace: Path,
        batch: BatchLimits,
        counter: RowCounter,
    ) -> None:
        """``workspace`` is a folder for staged batches."""
        self._table = table
        self._connection = table.connection
        self._placement = table.placement
        self._leases = leases
        self._inserter = inserter
        self._workspace = workspace
        self._batch = batch
        self._counter = counter
        self._fields = metadata_fields(COLUMNS)
        self._insert_settings = (
            _NO_INDEX | token_settings(table.connection) | table.placement.insert_settings
        )
        self._parts_left = 0

    def missing(self, name: str, shard: LocalShard) -> NDArray[np.bool_]:
        """For each row of the shard whether the table ``name`` lacks it, bool of shape (rows,).

        Raises TableError if the table has some row twice or one that the shard does not have.
        """
        found = self._connection.query(
            f"SELECT id FROM {identifier(name)} WHERE {id_range(shard.source)} ORDER BY id"
            f"{self._placement.consistent}"
        )
        total = shard.reader.rows
        known = shard.reader.ids(0, total)
        ids = found.column("id").to_numpy()
        places = np.searchsorted(known, ids)
        is_known = np.take(known, places, mode="clip") == ids if total else np.zeros(len(ids), bool)
        if not is_known.all() or bool((np.diff(ids) == 0).any()):
            raise TableError(
                f"table {self._table.name}: shard {shard.source.number} has rows twice, or rows "
                "that its files do not have; load it into another table, or remove them by id"
            )
        missing = np.ones(total, np.bool_)
        missing[places] = False
        return missing

    def fill(
        self,
        name: str,
        shard: LocalShard,
        missing: NDArray[np.bool_],
        entry: Entry,
        lease: Lease,
    ) -> int:
        """Insert the ``missing`` rows into the table ``name``; returns how many they were.

        A second round is needed only if rows were deleted by hand and the engine still remembers
        the tokens of their batches. Raises EngineError if rows are missing after all rounds, and
        LeaseLostError if another worker has the shard now.
        """
        count = int(missing.sum())
        self._counter.add(shard.reader.rows - count)
        for number in range(_ROUNDS):
            if not missing.any():
                return count
            if number > 0:
                entry = replace(entry, attempt=entry.attempt + 1)
                if name == self._table.name:  # the table of a replacement has one worker
                    self._leases.record(lease, entry)
            with closing(prefetch(self._batches(shard, missing, entry), depth=2)) as batches:
                for rows in self._inserter.insert(name, self._while_held(lease, batches)):
                    self._let_merge()
                    self._counter.add(rows if number == 0 else 0)
            missing = self.missing(name, shard)
            if missing.any():
                # A replica that lags behind may lack rows that others have.
                self._placement.settle(self._connection)
                missing = self.missing(name, shard)
        if not missing.any():
            return count
        raise EngineError(
            f"shard {shard.source.number}: rows are still missing after {_ROUNDS} attempts; "
            "is something deleting from the table?"
        )

    @contextmanager
    def merges_paused(self) -> Iterator[None]:
        """Pause merges while loading into the embedded engine: they write everything twice, on the
        processors that are loading. Merges go on once there are _PARTS_BEFORE_MERGES parts, at the
        end of the block, or in the next process if this one is killed."""
        if not self._connection.is_embedded:
            yield
            return
        self._parts_left = _PARTS_BEFORE_MERGES
        try:
            self._connection.command(f"SYSTEM STOP MERGES {self._table.sql}")
            yield
        finally:
            try:
                self._start_merges()
            except BaseException:
                # An interrupt, and the process may go on: a deletion would wait for ever.
                self._start_merges()
                raise

    def _let_merge(self) -> None:
        self._parts_left -= 1
        if self._parts_left == 0 and self._connection.is_embedded:
            self._start_merges()

    def _start_merges(self) -> None:
        self._connection.command(f"SYSTEM START MERGES {self._table.sql}")

    def _while_held(self, lease: Lease, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._leases.confirm(lease)
            yield batch

    def _batches(
        self, shard: LocalShard, missing: NDArray[np.bool_], entry: Entry
    ) -> Iterator[Batch]:
        """The ``missing`` rows of each batch of the grid."""
        reader = replace(shard.reader, limits=self._batch)
        again = f":r{entry.attempt}" if entry.attempt else ""
        token = f"{entry.files[0].checksum}{again}:{shard.source.number}"
        for first, last in _stretches(missing, reader.batch_rows):
            start = first
            # In one go: to begin within a row group, its rows before have to be decoded.
            for rows in reader.batches(self._fields, first, last, self._table.info.kept):
                stop = start + rows.num_rows
                wanted = missing[start:stop]
                if not wanted.all():
                    rows = rows.filter(pa.array(wanted))
                staged = self._connection.stage(as_stored(self._table, rows), self._workspace)
                tokens = {"insert_deduplication_token": f"{token}:{start}-{stop}"}
                yield Batch(rows.num_rows, staged, self._insert_settings | tokens)
                start = stop


def _stretches(missing: NDArray[np.bool_], batch_rows: int) -> Iterator[tuple[int, int]]:
    """The rows [start, stop) of neighbouring batches of the grid that each miss some row."""
    starts = np.arange(0, len(missing), batch_rows)
    lacking = np.add.reduceat(missing, starts, dtype=np.int64) > 0 if len(starts) else missing
    edges = np.flatnonzero(np.diff(lacking, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2).tolist():
        yield first * batch_rows, min(last * batch_rows, len(missing))


def as_stored(table: TableHandle, rows: pa.Table) -> pa.Table:
    """A shard's rows in the table's precision, without columns that the table does not have."""
    info = table.info
    if info.precision == "bfloat16":
        for modality in info.modalities:
            rows = round_to_bfloat16(rows, embedding_column(modality))
    # A table made by other hands, such as the guide's, has fewer columns.
    return rows.select([name for name in rows.column_names if name in table.columns])


def id_range(source: Source) -> str:
    """The condition that picks the rows of a shard, as SQL."""
    return f"id BETWEEN {source.first_id} AND {source.last_id}"
