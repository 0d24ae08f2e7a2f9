"""One shard's rows into the table: each once, however often the load is killed and started again.

What is there already is found by id range, and only the missing ranges are inserted. Batches lie on
a fixed grid and each insert carries a token made from the file's checksum and its rows, so that the
same batch sent twice, even by two processes at once, is kept once by the engine.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from cliphouse.errors import EngineError, ShardError, TableError
from cliphouse.shards import ShardReader
from cliphouse.shards.source import LocalShard, Source
from cliphouse.table.bfloat16 import round_to_bfloat16
from cliphouse.table.connection import Connection, identifier, quote
from cliphouse.table.inserter import Batch, Inserter, Span
from cliphouse.table.ledger import Entry, Ledger, describe_files
from cliphouse.table.placement import find_placement
from cliphouse.table.prefetch import prefetch
from cliphouse.table.schema import (
    CODES_SETTINGS,
    TableInfo,
    column_types,
    embedding_column,
    read_comment,
)
from cliphouse.table.workspace import is_running

Progress = Callable[[int, int], None]  # rows done, rows in all
_ATTEMPTS = 3
_STAGING = "being filled by cliphouse ingest --replace"
_PARTS_BEFORE_MERGES = 500  # the engine slows inserts down from 1,000 parts on
_INSERT_SETTINGS = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    # A vector index is built by `index`, at a time the user chooses.
    "materialize_skip_indexes_on_insert": 0,
}


@dataclass(frozen=True)
class ShardLoad:
    """What a run did with one shard. ``inserted`` is 0 where all was there already; ``gone`` are
    rows that have been deleted from the table since they were loaded, and were left so."""

    shard: int
    rows: int
    inserted: int
    replaced: bool = False
    gone: int = 0


class Loader:
    """The shards of one run on their way into the table."""

    def __init__(
        self,
        connection: Connection,
        table: str,
        info: TableInfo,
        ledger: Ledger,
        inserter: Inserter,
        workspace: Path,
        total: int,
        progress: Progress | None,
    ) -> None:
        self._connection = connection
        self._table = table
        self._info = info
        self._ledger = ledger
        self._columns = column_types(connection, table)
        self._placement = find_placement(connection, table)
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

    def load(self, shard: LocalShard, entry: Entry | None) -> ShardLoad:
        """The rows of a shard that are not in the table yet. ``entry`` is of an unfinished load."""
        source, reader = shard.source, shard.reader
        _check_values(shard)
        if entry is None:
            there = reader.rows - sum(span.rows for span in self._missing(self._table, shard))
            # Another process may have begun the shard since: it writes the ledger before any row.
            entry = self._ledger.read().get(source.number) if there else None
            if there and (entry is None or not entry.same_files(source.files)):
                raise TableError(
                    f"table {self._table} has rows with ids of shard {source.number} that were "
                    "not loaded from these files; ingest into another table with --table"
                )
        if entry is None:
            entry = Entry(source.number, "loading", reader.rows, describe_files(shard))
            self._ledger.write(entry)
        inserted = self._fill(self._table, shard, entry)
        self._ledger.write(Entry(source.number, "done", reader.rows, entry.files))
        return ShardLoad(source.number, reader.rows, inserted)

    def replace(self, shard: LocalShard) -> ShardLoad:
        """The shard's rows exchanged for those of its changed files, in one step.

        The new table shares the unchanged data with the old one and takes its place by EXCHANGE,
        so that a kill leaves the old rows or the new ones.
        """
        if self._placement.cluster is not None:
            return self._replace_in_place(shard)
        number = shard.source.number
        staging = f"{self._table}_replacing_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        _check_values(shard)
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
            inserted = self._fill(staging, shard, entry)
            run(f"ALTER TABLE {new} MODIFY COMMENT {quote(self._comment())}")
            self._check_alone(staging, shard.source, before)
            run(f"EXCHANGE TABLES {new} AND {old}")
        finally:
            run(f"DROP TABLE IF EXISTS {new} SYNC")
        self._ledger.write(entry)
        return ShardLoad(number, shard.reader.rows, inserted, replaced=True)

    def _replace_in_place(self, shard: LocalShard) -> ShardLoad:
        """On a cluster no exchange is one step on all nodes: the old rows go, then the new ones
        come, and until then the shard is missing. A run killed in between goes on: before the
        ledger says so the files count as changed still, afterwards as half loaded."""
        placement, number = self._placement, shard.source.number
        _check_values(shard)
        placement.check_reachable(self._connection, "no rows can be replaced on all of them")
        placement.run(
            self._connection,
            f"DELETE FROM {placement.rows}{placement.on} WHERE {_id_range(shard.source)}",
            {"lightweight_deletes_sync": 2},
        )
        entry = Entry(number, "loading", shard.reader.rows, describe_files(shard))
        self._ledger.write(entry)
        inserted = self._fill(self._table, shard, entry)
        self._ledger.write(Entry(number, "done", shard.reader.rows, entry.files))
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

    def _fill(self, table: str, shard: LocalShard, entry: Entry) -> int:
        """Insert what is missing until nothing is; returns the number of rows that were.

        A second attempt is needed only where rows were deleted by hand and the engine still
        remembers their batches' tokens.
        """
        reader, inserted, advanced = shard.reader, 0, False
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._placement.settle(self._connection)
            missing = self._missing(table, shard)
            if attempt == 0:
                inserted = sum(span.rows for span in missing)
                self._advance(reader.rows - inserted)
            if not missing:
                return inserted
            # The same token in every process, but for later attempts, which are this one's own.
            again = f":{uuid.uuid4().hex}" if attempt else ""
            token = f"{entry.files[0].checksum}{again}:{shard.source.number}"
            with closing(prefetch(self._batches(reader, missing, token))) as batches:
                for span in self._inserter.insert(table, batches):
                    self._let_merge()
                    self._advance(0 if advanced else span.rows)
            advanced = True
        if not self._missing(table, shard):
            return inserted
        raise EngineError(
            f"shard {shard.source.number}: rows are still missing after {_ATTEMPTS} attempts; "
            "is something deleting from the table?"
        )

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

    def _batches(self, reader: ShardReader, missing: Iterable[Span], token: str) -> Iterator[Batch]:
        for span in missing:
            for piece in _on_grid(span, reader.batch_rows):
                tokens = {"insert_deduplication_token": f"{token}:{piece.start}-{piece.stop}"}
                for rows in reader.batches(piece.start, piece.stop):
                    staged = self._connection.stage(self._fit(rows), self._workspace)
                    settings = _INSERT_SETTINGS | self._placement.insert_settings | tokens
                    yield Batch(piece, staged, settings)

    def _fit(self, rows: pa.Table) -> pa.Table:
        if self._info.precision == "bfloat16":
            for modality in self._info.modalities:
                rows = round_to_bfloat16(rows, embedding_column(modality))
        # A table made by other hands, such as the guide's, has fewer columns.
        return rows.select([name for name in rows.column_names if name in self._columns])

    def _missing(self, table: str, shard: LocalShard) -> list[Span]:
        """The ranges of rows that the table does not have, rising.

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
        edges = np.concatenate(([-1], rows, [total]))
        gaps = np.flatnonzero(np.diff(edges) > 1)
        return [Span(int(edges[i]) + 1, int(edges[i + 1])) for i in gaps]

    def _advance(self, rows: int) -> None:
        self._done += rows
        if self._progress:
            self._progress(self._done, self._total)


def _check_values(shard: LocalShard) -> None:
    """Raises ShardError that names the user's file, not the copy made of it."""
    try:
        shard.reader.check_values()
    except ShardError as error:
        if shard.folder is None:
            raise
        names = ", ".join(file.path for file in shard.source.files)
        _, _, what = str(error).rpartition(f"{shard.folder}/")
        raise ShardError(f"{names}: {what}") from error


def _on_grid(span: Span, size: int) -> Iterator[Span]:
    """``span`` cut where multiples of ``size`` fall, so that batches are the same in every run."""
    start = span.start
    while start < span.stop:
        stop = min((start // size + 1) * size, span.stop)
        yield Span(start, stop)
        start = stop


def _id_range(source: Source) -> str:
    return f"id BETWEEN {source.first_id} AND {source.last_id}"
