"""Shards into the table: what is to be done, checked before anything is.

The id of a row is shard * 2^32 + row. See cliphouse.loading.load for how every row arrives
once, and cliphouse.loading.lease for how several workers share the shards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cliphouse.cluster.ddl import create_table
from cliphouse.cluster.placement import Placement, insist_on_all_shards
from cliphouse.cluster.topology import extend, place
from cliphouse.engine.connection import Connection
from cliphouse.engine.workspace import workspace_folder
from cliphouse.errors import ShardError, TableError
from cliphouse.loading.inserter import Inserter
from cliphouse.loading.lease import LeaseLostError, Leases
from cliphouse.loading.ledger import Entry, Ledger
from cliphouse.loading.load import Loader, ShardLoad
from cliphouse.loading.prefetch import prefetch
from cliphouse.loading.scheduler import Turn, Turns, Waiting
from cliphouse.models import DEFAULT_MODEL, model_spec
from cliphouse.schema.columns import COLUMNS, metadata_fields
from cliphouse.schema.handle import TableHandle, check_versions, find_table, open_table
from cliphouse.schema.info import TableInfo, keep_tokens, rows_by_shard, table_layout
from cliphouse.shards.manifest import Manifest, read_manifest
from cliphouse.shards.source import LocalShard, ShardSource, Source, find_sources, local_shards
from cliphouse.vocabulary import Codes, Modality, Precision, Progress


@dataclass
class IngestReport:
    """What a run did, shard by shard, in ``seconds``."""

    model: str | None
    loads: list[ShardLoad] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        return sum(load.rows for load in self.loads)

    @property
    def inserted(self) -> int:
        return sum(load.inserted for load in self.loads)

    @property
    def by_others(self) -> int:
        """Rows of shards that other workers have loaded meanwhile."""
        return sum(load.rows for load in self.loads if load.by_others)


def ingest(
    connect: Callable[[], Connection],
    table: str,
    places: Sequence[str],
    numbers: Collection[int] | None = None,
    model: str | None = None,
    precision: Precision | None = None,
    replace: bool = False,
    progress: Progress | None = None,
    codes: Codes | None = None,
    cluster: str | None = None,
    waiting: Waiting | None = None,
) -> IngestReport:
    """Load the shards in ``places`` (folders, and the guide's CSV files; paths or fsspec URLs) into
    ``table``, which is made if it is not there: on ``cluster``, or where None on one server.

    Several workers, on any machines, may load the same shards at once: each shard is loaded by one,
    and those that others have are waited for. ``waiting`` is called with them (Holding) whenever
    they change while there is nothing else to do.

    Everything that can be told from the files' headers and the ledger is checked before the first
    row is written, and the files' part of it before ``connect`` opens, or makes, the database; a
    shard's vectors are checked before its own first row.

    Raises ShardError for broken files, TableError where the shards do not fit the table or a
    loaded shard's files have changed and ``replace`` is not given.
    """
    started = time.monotonic()
    sources = find_sources(places, numbers)
    _check_metadata(sources)
    wanted = _wanted_info(sources, places, model, precision, codes)
    connection = connect()
    placement = place(connection, table, cluster)
    if placement.cluster is not None:
        insist_on_all_shards(connection)
    check_versions(connection, table)
    extend(connection, placement)
    ledger = Ledger.make(connection, placement)
    handle = _make_table(connection, placement, ledger, wanted)
    _check_fit(table, handle.info, wanted, sources[0], precision, codes)
    keep_tokens(connection, table)
    before = ledger.tenures()
    entries = ledger.read()
    changed = _changed(sources, entries)
    if changed and not replace:
        raise _changed_error(table, changed[0])
    with (
        Leases(connection, placement) as leases,
        workspace_folder() as workspace,
        Inserter(connection) as inserter,
    ):
        total = sum(source.rows for source in sources)
        loader = Loader(handle, ledger, leases, inserter, workspace, total, progress)
        run = _Run(table, loader, ledger, changed, workspace)
        is_any_done = any(entry.state == "done" for entry in entries.values())
        there = rows_by_shard(connection, table) if is_any_done else {}
        to_do = run.skip_done(sources, entries, there, replace)
        loader.clear_staging()
        with loader.merges_waiting():
            run.work(Turns(leases, to_do, before), waiting)
    loads = sorted(run.loads, key=lambda load: load.shard)
    return IngestReport(handle.info.model, loads, time.monotonic() - started)


@dataclass
class _Run:
    """One worker's way through the shards."""

    table: str
    loader: Loader
    ledger: Ledger
    changed: Sequence[Source]
    workspace: Path
    loads: list[ShardLoad] = field(default_factory=list)

    def skip_done(
        self,
        sources: Sequence[Source],
        entries: dict[int, Entry],
        there: dict[int, int],
        replace: bool,
    ) -> list[Source]:
        """Skip what is loaded; returns the rest. ``there`` are rows of each shard in the table,
        of which some may have been deleted: with ``replace`` these are loaded again."""
        to_do: list[Source] = []
        for source in sources:
            entry, rows = entries.get(source.number), there.get(source.number, 0)
            if (
                entry is None
                or entry.state != "done"
                or source in self.changed
                or (replace and rows < entry.rows)
            ):
                to_do.append(source)
            else:
                self.loads.append(self.loader.skip(entry, rows))
        return to_do

    def work(self, turns: Turns, waiting: Waiting | None) -> None:
        """Load what no other worker has, and wait for the rest, until all shards are loaded."""
        while True:
            with closing(self._ready(turns)) as ready:
                for turn, shard in ready:
                    self._load(turns, turn, shard)
                    shard.clear()
            self._leave(turns)
            if turns.is_over:
                return
            turns.wait(waiting)

    def _ready(self, turns: Turns) -> Generator[tuple[Turn, LocalShard], None, None]:
        """Shards to load, in local files. Copying takes long, so that the next one is claimed and
        copied meanwhile; local files are claimed one by one, for the sake of other workers."""
        pairs = (
            (turn, shard)
            for turn in turns.take()
            for shard in local_shards([turn.source], self.workspace)
        )
        return pairs if turns.are_local else prefetch(pairs)

    def _load(self, turns: Turns, turn: Turn, shard: LocalShard) -> None:
        load = self.loader.replace if turn.source in self.changed else self.loader.load
        try:
            self.loads.append(load(shard, turn.lease))
        except LeaseLostError:
            turns.put_back(turn)

    def _leave(self, turns: Turns) -> None:
        """What other workers have loaded, which must have been from the same files."""
        while turns.by_others:
            source = turns.by_others.pop()
            entry = self.ledger.read(source.number).get(source.number)
            if entry is None or not entry.same_files(source.files):
                raise _changed_error(self.table, source)
            self.loads.append(self.loader.leave(entry))


def _check_metadata(sources: Sequence[Source]) -> None:
    """Raises ShardError if a file has two columns for one of the table's."""
    for source in sources:
        if isinstance(source, ShardSource):
            source.reader.metadata.match(metadata_fields(COLUMNS))


def _make_table(
    connection: Connection, placement: Placement, ledger: Ledger, wanted: TableInfo
) -> TableHandle:
    """The table, made if it is not there, which other workers may be doing at the same time."""
    asked = ledger.now()
    table = find_table(connection, placement.table)
    if table is None:
        ledger.forget(asked)
        create_table(connection, placement, table_layout(wanted))
        table = open_table(connection, placement.table)
    return table


def _changed_error(table: str, source: Source) -> TableError:
    return TableError(
        f"shard {source.number}: its files have changed since it was loaded into "
        f"{table} ({source.files[0].path}); give --replace to load the new ones "
        "instead or, where this is another dataset, name another table with --table"
    )


def _wanted_info(
    sources: Sequence[Source],
    places: Sequence[str],
    model: str | None,
    precision: Precision | None,
    codes: Codes | None,
) -> TableInfo:
    first = sources[0]
    for source in sources:
        if (source.dim, source.has_text) != (first.dim, first.has_text):
            raise ShardError(
                f"shards {first.number} and {source.number} differ: {first.describe()} against "
                f"{source.describe()}; ingest them into separate tables"
            )
    manifests = {m for m in map(read_manifest, places) if m is not None}
    name = _model_name(model, manifests, first.dim)
    modalities: tuple[Modality, ...] = ("image", "text") if first.has_text else ("image",)
    return TableInfo(name, first.dim, precision or "float32", modalities, codes=codes or "none")


def _model_name(model: str | None, manifests: set[Manifest], dim: int) -> str | None:
    named = {manifest.model for manifest in manifests}
    if len(named) > 1:
        raise ShardError(f"the folders hold shards of different models: {', '.join(sorted(named))}")
    said = model_spec(model).name if model else None
    if named and said and said not in named:
        raise ShardError(f"these shards were made with {named.pop()}, not with {said}")
    if named or said:
        return said or named.pop()
    # Shards that do not say are LAION's or clip-retrieval's, whose model is ViT-B/32.
    return DEFAULT_MODEL if dim == model_spec(DEFAULT_MODEL).dim else None


def _check_fit(
    table: str,
    info: TableInfo,
    wanted: TableInfo,
    first: Source,
    precision: Precision | None,
    codes: Codes | None,
) -> None:
    shard = first.number
    if info.dim and info.dim != wanted.dim:
        raise TableError(
            f"table {table} has vectors of dimension {info.dim}, shard {shard} of {wanted.dim}; "
            "name another table with --table"
        )
    if info.modalities != wanted.modalities:
        raise TableError(
            f"table {table} holds {' and '.join(info.modalities)} embeddings, shard {shard} "
            f"{' and '.join(wanted.modalities)}; name another table with --table"
        )
    if info.model and wanted.model and info.model != wanted.model:
        raise TableError(
            f"table {table} was made with model {info.model}, shard {shard} with {wanted.model}; "
            "name another table with --table"
        )
    if precision and precision != info.precision:
        raise TableError(f"table {table} keeps {info.precision}; it cannot take {precision} rows")
    if codes and codes != info.codes:
        raise TableError(
            f"table {table} was made with codes {info.codes}; codes are chosen when a table is "
            "made, so name another table with --table"
        )


def _changed(sources: Sequence[Source], entries: dict[int, Entry]) -> list[Source]:
    return [
        source
        for source in sources
        if (entry := entries.get(source.number)) and not entry.same_files(source.files)
    ]
