"""Replacing the rows of a shard whose files have changed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import replace

from cliphouse.engine.connection import Connection
from cliphouse.engine.quoting import identifier, quote
from cliphouse.engine.workspace import is_running
from cliphouse.errors import TableError
from cliphouse.loading.fill import id_range
from cliphouse.loading.lease import Lease
from cliphouse.loading.ledger import Entry, describe_files
from cliphouse.loading.load import ShardLoad, ShardWork
from cliphouse.schema.info import CODES_SETTINGS, read_comment
from cliphouse.shards.source import LocalShard, Source

_STAGING = "being filled by cliphouse ingest --replace"


class Replacer(ShardWork):
    """Replaces shards of one table."""

    def replace(self, shard: LocalShard, lease: Lease) -> ShardLoad:
        """Exchange the shard's rows for those of its changed files.

        On one server this is one step, and a kill leaves the old rows or the new ones. Raises
        LeaseLostError if another worker has the shard now, TableError if another process is loading
        into the table.
        """
        shard.check_values()
        if self._table.placement.cluster is not None:
            return self._replace_in_place(shard, lease)
        return self._exchange(shard, lease)

    def clear_staging(self) -> None:
        """Drop the staging tables of replacements that were killed in an embedded database. On a
        server nobody can tell whether they are in use, so they are left to its owner."""
        if not self._connection.is_embedded:
            return
        found = self._connection.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() "
            "AND match(name, {pattern:String}) AND comment IN ({staging:String}, {own:String})",
            {
                "pattern": f"^{self._table.name}_replacing_[0-9]+_[0-9a-f]{{8}}$",
                "staging": _STAGING,
                "own": self._comment(),
            },
        )
        for name in found.column("name").to_pylist():
            if is_running(int(name.split("_")[-2])):
                continue
            self._connection.command(f"DROP TABLE {identifier(name)} SYNC")

    def _exchange(self, shard: LocalShard, lease: Lease) -> ShardLoad:
        """Fill a staging table, which shares the unchanged data with the old one, and exchange the
        two."""
        source = shard.source
        staging = f"{self._table.name}_replacing_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        entry = Entry(source.number, "done", shard.reader.rows, describe_files(shard))
        before = self._ledger.read()
        old, new = self._table.sql, identifier(staging)
        run = self._connection.command
        try:
            run(f"CREATE TABLE {new} AS {old}", settings=CODES_SETTINGS if self._has_codes else {})
            run(f"ALTER TABLE {new} MODIFY COMMENT {quote(_STAGING)}")
            run(f"ALTER TABLE {new} ATTACH PARTITION tuple() FROM {old}")
            run(
                f"DELETE FROM {new} WHERE {id_range(source)}",
                settings={"lightweight_deletes_sync": 2},
            )
            missing = self._filler.missing(staging, shard)
            with self._counter.undone_if_lost():
                inserted = self._filler.fill(staging, shard, missing, entry, lease)
            run(f"ALTER TABLE {new} MODIFY COMMENT {quote(self._comment())}")
            self._check_alone(staging, source, before)
            self._leases.confirm(lease, at_once=True)
            run(f"EXCHANGE TABLES {new} AND {old}")
            try:
                self._check_alone(staging, source, before)
            except TableError:  # another process came in the last moment
                run(f"EXCHANGE TABLES {new} AND {old}")
                raise
        finally:
            run(f"DROP TABLE IF EXISTS {new} SYNC")
        self._leases.record(lease, entry)
        return ShardLoad(source.number, shard.reader.rows, inserted, replaced=True)

    def _replace_in_place(self, shard: LocalShard, lease: Lease) -> ShardLoad:
        """Delete the old rows, then insert the new ones: on a cluster no exchange is one step on
        all nodes. The shard is missing in between. If the run is killed, the next one goes on: the
        files count as changed until the ledger has the new ones, and then as half loaded."""
        placement, source = self._table.placement, shard.source
        placement.check_reachable(self._connection, "no rows can be replaced on all of them")
        self._leases.confirm(lease, at_once=True)
        self._delete_rows(id_range(source))
        self._confirm_after_deletion(source, lease)
        known = self._ledger.read(source.number).get(source.number)
        # The engine may know these files' tokens from an earlier load: this is a round of its own.
        entry = Entry(
            source.number,
            "loading",
            shard.reader.rows,
            describe_files(shard),
            attempt=known.attempt + 1 if known else 1,
        )
        with self._counter.undone_if_lost():
            self._leases.record(lease, entry)
            missing = self._filler.missing(self._table.name, shard)
            inserted = self._filler.fill(self._table.name, shard, missing, entry, lease)
            self._leases.record(lease, replace(entry, state="done"))
        return ShardLoad(source.number, shard.reader.rows, inserted, replaced=True)

    def _check_alone(self, staging: str, source: Source, before: Mapping[int, Entry]) -> None:
        """Raises TableError if another process has loaded into the table since ``before`` was read:
        the exchange would lose what it wrote."""
        others = f"SELECT count() FROM {{}} WHERE NOT ({id_range(source)})"
        counts = {
            self._connection.command(others.format(identifier(name)))
            for name in (self._table.name, staging)
        }
        if len(counts) > 1 or self._ledger.read() != before:
            raise TableError(
                f"table {self._table.name}: another process is loading into it; replace shard "
                f"{source.number} when that has ended"
            )

    @property
    def _connection(self) -> Connection:
        return self._table.connection

    @property
    def _has_codes(self) -> bool:
        return self._table.info.codes != "none"

    def _comment(self) -> str:
        return read_comment(self._connection, self._table.name) or ""
