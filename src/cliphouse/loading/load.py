"""Loading a shard that is not in the table yet, or not in full."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cliphouse.errors import TableError
from cliphouse.loading.fill import RowCounter, ShardFiller
from cliphouse.loading.lease import Lease, LeaseLostError, Leases
from cliphouse.loading.ledger import Entry, Ledger, describe_files
from cliphouse.schema.handle import TableHandle
from cliphouse.shards.source import LocalShard, Source


@dataclass(frozen=True)
class ShardLoad:
    """What a run did with one shard. ``inserted`` is 0 if the table had all rows already. ``gone``
    counts rows that were deleted from the table since they were loaded, and were not loaded again.
    ``by_others`` says that another worker loaded the shard meanwhile. ``updated`` says that the
    rows were compared with the table's, of which ``removed`` were deleted or inserted anew."""

    shard: int
    rows: int
    inserted: int
    replaced: bool = False
    gone: int = 0
    by_others: bool = False
    updated: bool = False
    removed: int = 0


class ShardWork:
    """Work on the shards of one table in one run: what loading, replacing and updating share."""

    def __init__(
        self,
        table: TableHandle,
        ledger: Ledger,
        leases: Leases,
        filler: ShardFiller,
        counter: RowCounter,
    ) -> None:
        self._table = table
        self._ledger = ledger
        self._leases = leases
        self._filler = filler
        self._counter = counter

    def _delete_rows(self, condition: str) -> None:
        """Delete the rows that meet a condition in SQL, on all nodes."""
        placement = self._table.placement
        placement.run(
            self._table.connection,
            f"DELETE FROM {placement.rows}{placement.on} WHERE {condition}",
            {"lightweight_deletes_sync": 2},
        )

    def _confirm_after_deletion(self, source: Source, lease: Lease) -> None:
        """Raises TableError if another worker has the shard whose rows were deleted."""
        try:
            self._leases.confirm(lease, at_once=True)
        except LeaseLostError:
            raise TableError(
                f"shard {source.number}: another worker took it over while its old rows were "
                "deleted, and new ones may be gone with them; run ingest --replace once more"
            ) from None


class Loader(ShardWork):
    """Loads the shards of one run."""

    def skip(self, entry: Entry, present: int) -> ShardLoad:
        """Report a shard that is loaded already, of which ``present`` rows are in the table."""
        self._counter.add(entry.rows)
        return ShardLoad(entry.shard, entry.rows, 0, gone=max(0, entry.rows - present))

    def skip_loaded_by_others(self, entry: Entry) -> ShardLoad:
        """Report a shard that another worker has loaded during this run."""
        self._counter.add(entry.rows)
        return ShardLoad(entry.shard, entry.rows, 0, by_others=True)

    def load(self, shard: LocalShard, lease: Lease) -> ShardLoad:
        """Insert the rows of a shard that are not in the table yet.

        Raises LeaseLostError if another worker has the shard now, ShardError if a vector is bad,
        TableError if the table has rows of other files under the shard's ids.
        """
        source, reader, name = shard.source, shard.reader, self._table.name
        shard.check_values()
        # In this order, since a worker writes the ledger before it writes rows.
        missing = self._filler.missing(name, shard)
        known = self._ledger.read(source.number).get(source.number)
        if known is None and not missing.all():
            self._ledger.settle()
            known = self._ledger.read(source.number).get(source.number)
        is_foreign = known is None and not missing.all()
        if is_foreign or (known is not None and not known.same_files(source.files)):
            raise TableError(
                f"table {name} has rows with ids of shard {source.number} that were "
                "not loaded from these files; ingest into another table with --table"
            )
        entry = known or Entry(source.number, "loading", reader.rows, describe_files(shard))
        if entry.state == "done":
            # The missing rows were deleted, and the engine knows the tokens of all rounds before.
            self._table.placement.settle(self._table.connection)
            missing = self._filler.missing(name, shard)
            entry = replace(entry, state="loading", attempt=entry.attempt + 1)
        with self._counter.undone_if_lost():
            self._leases.record(lease, entry)
            inserted = self._filler.fill(name, shard, missing, entry, lease)
            self._leases.record(lease, replace(entry, state="done"))
        return ShardLoad(source.number, reader.rows, inserted)
