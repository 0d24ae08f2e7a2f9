"""One shard's rows into the table: each once, however often the load is killed and started again.

What is there already is found by id. Batches lie on a fixed grid; of each that has missing rows,
those are sent in one insert under the batch's token, made from the file's checksum, the shard and
the place in the grid. The engine keeps one insert of a token and drops what comes after, whole.

Why no row is doubled: let worker A be slow, its lease taken by B, and A still sending. Before its
look B claimed the shard, and what it sends is missing at its look.

- A's insert arrives before B's look: B does not send these rows.
- Between B's look and B's insert of the same batch: B's is dropped; A's held all that is missing.
- After B's insert: A's is dropped, whole or not, and however late the engine still knows the token
  (it keeps the last 10,000). A worker that was stopped for longer asks for its lease first.
- A batch on a cluster is cut by the shards, each of which keeps the tokens of its own part: the
  same holds for each part, and a part that never arrived is what B finds missing.

Rows that were deleted by hand are missing while their tokens are known: their inserts are dropped,
and the next look still finds them missing. Then they are sent in another round, with its number in
the token. The number is written to the ledger before the first insert of its round, and a worker
begins with the last number there: so A and B send the same rows under the same token in later
rounds too, and a new number only when all of the last round has been dropped or kept.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cliphouse.engine.quoting import identifier, quote
from cliphouse.engine.workspace import is_running
from cliphouse.errors import EngineError, TableError
from cliphouse.loading.bfloat16 import round_to_bfloat16
from cliphouse.loading.inserter import Batch, Inserter
from cliphouse.loading.lease import Lease, LeaseLostError, Leases
from cliphouse.loading.ledger import Entry, Ledger, describe_files
from cliphouse.loading.prefetch import prefetch
from cliphouse.loading.tokens import token_settings
from cliphouse.schema.columns import COLUMNS, embedding_column, metadata_fields
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import CODES_SETTINGS, read_comment
from cliphouse.shards.source import LocalShard, Source
from cliphouse.vocabulary import Progress

_ROUNDS = 3
_STAGING = "being filled by cliphouse ingest --replace"
_PARTS_BEFORE_MERGES = 500  # the engine slows inserts down from 1,000 parts on
# A vector index is built by `index`, at a time the user chooses.
_NO_INDEX = {"materialize_skip_indexes_on_insert": 0}


@dataclass(frozen=True)
class ShardLoad:
    """What a run did with one shard. ``inserted`` is 0 where all was there already; ``gone`` are
    rows that have been deleted from the table since they were loaded, and were left so.
    ``by_others`` is a shard that another worker loaded meanwhile."""

    shard: int
    rows: int
    inserted: int
    replaced: bool = False
    gone: int = 0
    by_others: bool = False


class Loader:
    """The shards of one run on their way into the table."""

    def __init__(
        self,
        table: TableHandle,
        ledger: Ledger,
        leases: Leases,
        inserter: Inserter,
        workspace: Path,
        total: int,
        progress: Progress | None,
    ) -> None:
        self._connection = table.connection
        self._table = table.name
        self._info = table.info
        self._ledger = ledger
        self._leases = leases
        self._fields = metadata_fields(COLUMNS)
        self._columns = table.columns
        self._placement = table.placement
        self._insert_settings = (
            _NO_INDEX | token_settings(table.connection) | self._placement.insert_settings
        )
        self._total = total
        self._workspace = workspace
        self._inserter = inserter
        self._done = 0
        self._progress = progress
        self._parts_left = 0

    def skip(self, entry: Entry, there: int) -> ShardLoad:
        """A shard that is loaded already, of which ``there`` rows are in the table."""
        self._advance(entry.rows)
        return ShardLoad(entry.shard, entry.rows, 0, gone=max(0, entry.rows - there))

    def leave(self, entry: Entry) -> ShardLoad:
        """A shard that another worker has loaded meanwhile."""
        self._advance(entry.rows)
        return ShardLoad(entry.shard, entry.rows, 0, by_others=True)

    def load(self, shard: LocalShard, lease: Lease) -> ShardLoad:
        """The rows of a shard that are not in the table yet.

        Raises LeaseLostError where another worker has the shard now, TableError where the table has
        rows of other files in its place.
        """
        source, reader = shard.source, shard.reader
        shard.check_values()
        # In this order, since whoever writes rows writes the ledger first.
        missing = self._missing(self._table, shard)
        known = self._ledger.read(source.number).get(source.number)
        if known is None and not missing.all():
            self._ledger.settle()
            known = self._ledger.read(source.number).get(source.number)
        is_foreign = known is None and not missing.all()
        if is_foreign or (known is not None and not known.same_files(source.files)):
            raise TableError(
                f"table {self._table} has rows with ids of shard {source.number} that were "
                "not loaded from these files; ingest into another table with --table"
            )
        entry = known or Entry(source.number, "loading", reader.rows, describe_files(shard))
        if entry.state == "done":
            # What is missing was deleted, and the tokens of all rounds before are known.
            self._placement.settle(self._connection)
            missing = self._missing(self._table, shard)
            entry = replace(entry, state="loading", attempt=entry.attempt + 1)
        with self._counted_if_held():
            self._leases.note(lease, entry)
            inserted = self._fill(self._table, shard, missing, entry, lease)
            self._leases.note(lease, replace(entry, state="done"))
        return ShardLoad(source.number, reader.rows, inserted)

    def replace(self, shard: LocalShard, lease: Lease) -> ShardLoad:
        """The shard's rows exchanged for those of its changed files, in one step.

        The new table shares the unchanged data with the old one and takes its place by EXCHANGE,
        so that a kill leaves the old rows or the new ones. Raises LeaseLostError as ``load`` does.
        """
        if self._placement.cluster is not None:
            return self._replace_in_place(shard, lease)
        number = shard.source.number
        staging = f"{self._table}_replacing_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        shard.check_values()
        entry = Entry(number, "done", shard.reader.rows, describe_files(shard))
        before = self._ledger.read()
        old, new = identifier(self._table), identifier(staging)
        run = self._connection.command
        try:
            run(f"CREATE TABLE {new} AS {old}", settings=CODES_SETTINGS if self._has_codes else {})
            run(f"ALTER TABLE {new} MODIFY COMMENT {quote(_STAGING)}")
            run(f"ALTER TABLE {new} ATTACH PARTITION tuple() FROM {old}")
            run(
                f"DELETE FROM {new} WHERE {_id_range(shard.source)}",
                settings={"lightweight_deletes_sync": 2},
            )
            missing = self._missing(staging, shard)
            with self._counted_if_held():
                inserted = self._fill(staging, shard, missing, entry, lease)
            run(f"ALTER TABLE {new} MODIFY COMMENT {quote(self._comment())}")
            self._check_alone(staging, shard.source, before)
            self._leases.confirm(lease, at_once=True)
            run(f"EXCHANGE TABLES {new} AND {old}")
            try:
                self._check_alone(staging, shard.source, before)
            except TableError:  # somebody came in the last moment
                run(f"EXCHANGE TABLES {new} AND {old}")
                raise
        finally:
            run(f"DROP TABLE IF EXISTS {new} SYNC")
        self._leases.note(lease, entry)
        return ShardLoad(number, shard.reader.rows, inserted, replaced=True)

    def _replace_in_place(self, shard: LocalShard, lease: Lease) -> ShardLoad:
        """On a cluster no exchange is one step on all nodes: the old rows go, then the new ones
        come, and until then the shard is missing. A run killed in between goes on: before the
        ledger says so the files count as changed still, afterwards as half loaded."""
        placement, number = self._placement, shard.source.number
        shard.check_values()
        placement.check_reachable(self._connection, "no rows can be replaced on all of them")
        self._leases.confirm(lease, at_once=True)
        placement.run(
            self._connection,
            f"DELETE FROM {placement.rows}{placement.on} WHERE {_id_range(shard.source)}",
            {"lightweight_deletes_sync": 2},
        )
        try:
            self._leases.confirm(lease, at_once=True)
        except LeaseLostError:
            raise TableError(
                f"shard {number}: another worker took it over while its old rows were deleted, and "
                "new ones may be gone with them; run ingest --replace once more"
            ) from None
        known = self._ledger.read(number).get(number)
        # These files may have been loaded before those that they replace: a round of its own.
        entry = Entry(
            number,
            "loading",
            shard.reader.rows,
            describe_files(shard),
            attempt=known.attempt + 1 if known else 1,
        )
        with self._counted_if_held():
            self._leases.note(lease, entry)
            missing = self._missing(self._table, shard)
            inserted = self._fill(self._table, shard, missing, entry, lease)
            self._leases.note(lease, replace(entry, state="done"))
        return ShardLoad(number, shard.reader.rows, inserted, replaced=True)

    def _check_alone(self, staging: str, source: Source, before: dict[int, Entry]) -> None:
        """Raises TableError where another process has loaded into the table since ``before``: what
        it wrote would be lost in the exchange."""
        others = f"SELECT count() FROM {{}} WHERE NOT ({_id_range(source)})"
        counts = {
            self._connection.command(others.format(identifier(name)))
            for name in (self._table, staging)
        }
        if len(counts) > 1 or self._ledger.read() != before:
            raise TableError(
                f"table {self._table}: another process is loading into it; replace shard "
                f"{source.number} when that has ended"
            )

    @property
    def _has_codes(self) -> bool:
        return self._info.codes != "none"

    def _comment(self) -> str:
        return read_comment(self._connection, self._table) or ""

    def clear_staging(self) -> None:
        """Drop what replacements that were killed left: on this machine, where it can be told; on
        a server they are left to its owner."""
        if not self._connection.is_embedded:
            return
        found = self._connection.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() "
            "AND match(name, {pattern:String}) AND comment IN ({staging:String}, {own:String})",
            {
                "pattern": f"^{self._table}_replacing_[0-9]+_[0-9a-f]{{8}}$",
                "staging": _STAGING,
                "own": self._comment(),
            },
        )
        for name in found.column("name").to_pylist():
            if is_running(int(name.split("_")[-2])):
                continue
            self._connection.command(f"DROP TABLE {identifier(name)} SYNC")

    def _fill(
        self,
        table: str,
        shard: LocalShard,
        missing: NDArray[np.bool_],
        entry: Entry,
        lease: Lease,
    ) -> int:
        """Insert what is ``missing`` until nothing is; returns the number of rows that were.

        A second round is needed only where rows were deleted by hand and the engine still
        remembers their batches' tokens.
        """
        count = int(missing.sum())
        self._advance(shard.reader.rows - count)
        for number in range(_ROUNDS):
            if not missing.any():
                return count
            if number > 0:
                entry = replace(entry, attempt=entry.attempt + 1)
                if table == self._table:  # a replacement's own table has one worker
                    self._leases.note(lease, entry)
            with closing(prefetch(self._batches(shard, missing, entry), depth=2)) as batches:
                for rows in self._inserter.insert(table, self._while_held(lease, batches)):
                    self._let_merge()
                    self._advance(rows if number == 0 else 0)
            missing = self._missing(table, shard)
            if missing.any():
                # From a replica that lags behind rows would seem to be missing.
                self._placement.settle(self._connection)
                missing = self._missing(table, shard)
        if not missing.any():
            return count
        raise EngineError(
            f"shard {shard.source.number}: rows are still missing after {_ROUNDS} attempts; "
            "is something deleting from the table?"
        )

    @contextmanager
    def _counted_if_held(self) -> Iterator[None]:
        """Rows of a shard that was taken over count when the other worker has loaded it."""
        done = self._done
        try:
            yield
        except LeaseLostError:
            self._done = done
            raise

    def _while_held(self, lease: Lease, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._leases.confirm(lease)
            yield batch

    @contextmanager
    def merges_waiting(self) -> Iterator[None]:
        """Hold merges back while loading into the embedded engine: they write everything twice, on
        the processors that are loading. They go on once there are _PARTS_BEFORE_MERGES parts, or
        afterwards, or in the next process where this one is killed."""
        if not self._connection.is_embedded:
            yield
            return
        name = identifier(self._table)
        self._connection.command(f"SYSTEM STOP MERGES {name}")
        self._parts_left = _PARTS_BEFORE_MERGES
        try:
            yield
        finally:
            self._connection.command(f"SYSTEM START MERGES {name}")

    def _let_merge(self) -> None:
        self._parts_left -= 1
        if self._parts_left == 0 and self._connection.is_embedded:
            self._connection.command(f"SYSTEM START MERGES {identifier(self._table)}")

    def _batches(
        self, shard: LocalShard, missing: NDArray[np.bool_], entry: Entry
    ) -> Iterator[Batch]:
        """Of each batch of the grid, the rows that are ``missing``."""
        reader = shard.reader
        again = f":r{entry.attempt}" if entry.attempt else ""
        token = f"{entry.files[0].checksum}{again}:{shard.source.number}"
        for start in range(0, reader.rows, reader.batch_rows):
            stop = min(start + reader.batch_rows, reader.rows)
            wanted = missing[start:stop]
            if not wanted.any():
                continue
            (rows,) = reader.batches(self._fields, start, stop)
            if not wanted.all():
                rows = rows.filter(pa.array(wanted))
            staged = self._connection.stage(self._fit(rows), self._workspace)
            tokens = {"insert_deduplication_token": f"{token}:{start}-{stop}"}
            yield Batch(rows.num_rows, staged, self._insert_settings | tokens)

    def _fit(self, rows: pa.Table) -> pa.Table:
        if self._info.precision == "bfloat16":
            for modality in self._info.modalities:
                rows = round_to_bfloat16(rows, embedding_column(modality))
        # A table made by other hands, such as the guide's, has fewer columns.
        return rows.select([name for name in rows.column_names if name in self._columns])

    def _missing(self, table: str, shard: LocalShard) -> NDArray[np.bool_]:
        """For each row of the shard whether the table does not have it, bool of shape (rows,).

        Raises TableError where it has some row twice or one the shard does not have.
        """
        found = self._connection.query(
            f"SELECT id FROM {identifier(table)} WHERE {_id_range(shard.source)} ORDER BY id"
            f"{self._placement.consistent}"
        )
        total = shard.reader.rows
        rows = found.column("id").to_numpy() - shard.source.first_id
        if len(rows) and (int(rows[-1]) >= total or bool((np.diff(rows) == 0).any())):
            raise TableError(
                f"table {self._table}: shard {shard.source.number} has rows twice, or rows that "
                "its files do not have; load it into another table, or remove them by id"
            )
        missing = np.ones(total, np.bool_)
        missing[rows] = False
        return missing

    def _advance(self, rows: int) -> None:
        self._done += rows
        if self._progress:
            self._progress(self._done, self._total)


def _id_range(source: Source) -> str:
    return f"id BETWEEN {source.first_id} AND {source.last_id}"
