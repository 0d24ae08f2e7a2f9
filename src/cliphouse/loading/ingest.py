"""Loading shards into a table. What can be checked is checked before anything is written.

The id of a row is shard * 2^32 + row. cliphouse.loading.fill says how every row arrives exactly
once, and cliphouse.loading.lease how several workers share the shards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from cliphouse.cluster.ddl import create_table
from cliphouse.cluster.placement import Placement, insist_on_all_shards
from cliphouse.cluster.topology import extend, place
from cliphouse.engine.connection import Connection
from cliphouse.engine.workspace import workspace_folder
from cliphouse.errors import TableError
from cliphouse.loading.columns import add_columns, check_columns, wanted_columns
from cliphouse.loading.compatibility import check_fit, table_for
from cliphouse.loading.fill import RowCounter, ShardFiller
from cliphouse.loading.inserter import Inserter
from cliphouse.loading.lease import LeaseLostError, Leases
from cliphouse.loading.ledger import Claim, Entry, Ledger
from cliphouse.loading.load import Loader, ShardLoad
from cliphouse.loading.options import IngestOptions, LoadSettings
from cliphouse.loading.prefetch import prefetch
from cliphouse.loading.replace import Replacer
from cliphouse.loading.roots import add_roots
from cliphouse.loading.scheduler import Assignment, OnWait, Scheduler
from cliphouse.loading.update import Updater, is_row_by_row
from cliphouse.schema.handle import TableHandle, check_versions, find_table, open_table
from cliphouse.schema.info import TableInfo, keep_tokens, rows_by_shard, table_layout
from cliphouse.shards.kept import in_words
from cliphouse.shards.source import LocalShard, Source, find_sources, local_shards
from cliphouse.vocabulary import Progress


@dataclass
class IngestReport:
    """What a run did, shard by shard, in ``seconds``. ``notes`` are sentences about columns of the
    metadata that the table does not keep, or that some shards do not have."""

    model: str | None
    loads: list[ShardLoad] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(load.rows for load in self.loads)

    @property
    def inserted(self) -> int:
        return sum(load.inserted for load in self.loads)

    @property
    def removed(self) -> int:
        """Rows of the table that shards of pictures did not have any more, or not like this."""
        return sum(load.removed for load in self.loads)

    @property
    def by_others(self) -> int:
        """Rows of shards that other workers loaded meanwhile."""
        return sum(load.rows for load in self.loads if load.by_others)


def ingest(
    connect: Callable[[], Connection],
    name: str,
    places: Sequence[str],
    options: IngestOptions,
    progress: Progress | None = None,
    on_wait: OnWait | None = None,
) -> IngestReport:
    """Load the shards in ``places`` (folders, and the guide's CSV files; paths or fsspec URLs) into
    the table ``name``, which is made if there is none.

    Several workers, on any machines, may load the same shards at once: each shard is loaded by one
    worker, and the others wait for it. ``on_wait`` is called with the loads of other workers
    whenever they change while there is nothing else to do.

    All that the files' headers and the ledger say is checked before the first row is written; what
    the headers say even before ``connect`` opens, or makes, the database. A shard's vectors are
    checked before its own first row is written.

    Raises ShardError if files are broken or a column is of another type than that of the table,
    TableError if a newer release wrote the table or its ledger, if the shards do not fit the table,
    if it knows a root of theirs at another place and not ``options.move_roots``, or if a loaded
    shard's files have changed and ``options.replace`` is false. Changed shards of pictures are
    brought up to date row by row (see cliphouse.loading.update).
    """
    started = time.monotonic()
    sources = find_sources(places, options.shards)
    columns = wanted_columns(sources, options.keep)
    wanted = table_for(sources, places, options, columns)
    connection = connect()
    placement = place(connection, name, options.cluster)
    if placement.cluster is not None:
        insist_on_all_shards(connection)
    check_versions(connection, name)
    extend(connection, placement)
    ledger = Ledger.make(connection, placement)
    asked = ledger.now()
    found = find_table(connection, name)
    table = found or _make_table(connection, placement, ledger, wanted, asked)
    check_fit(name, table.info, wanted, sources[0], options)
    add_roots(table, wanted.roots, options.move_roots)
    if options.add_columns:
        table = open_table(connection, name)
        add_columns(connection, table, sources, options.add_columns)
        table = open_table(connection, name)
    notes = check_columns(table.info, sources)
    if found is None and columns.left_out:
        notes.insert(0, f"columns that a table cannot keep: {in_words(columns.left_out)}")
    keep_tokens(connection, name)
    before = ledger.claims()
    plan = _plan(table, ledger, sources, options.replace)
    loads = _run(table, ledger, plan, before, options.settings, progress, on_wait)
    loads.sort(key=lambda load: load.shard)
    return IngestReport(table.info.model, loads, time.monotonic() - started, notes)


def _make_table(
    connection: Connection, placement: Placement, ledger: Ledger, wanted: TableInfo, asked: int
) -> TableHandle:
    """Make the table. At the time ``asked`` or later there was none; other workers may be making it
    at the same time."""
    ledger.forget(asked)
    create_table(connection, placement, table_layout(wanted))
    return open_table(connection, placement.table)


@dataclass(frozen=True)
class _Plan:
    """The shards that a run loads (``to_do``), those of them whose files have ``changed`` since the
    last load, those whose rows are to be ``updated`` one by one, and those that it skips, each with
    the ledger's entry and its rows in the table. ``rows`` counts those of all shards."""

    to_do: Sequence[Source]
    changed: Sequence[Source]
    updated: Sequence[Source]
    skipped: Sequence[tuple[Entry, int]]
    rows: int


def _plan(table: TableHandle, ledger: Ledger, sources: Sequence[Source], replace: bool) -> _Plan:
    """With ``replace``, shards some of whose rows were deleted are loaded again. Raises TableError
    if files have changed and ``replace`` is false."""
    entries = ledger.read()
    changed = [
        source
        for source in sources
        if (entry := entries.get(source.number)) and not entry.same_files(source.files)
    ]
    row_by_row = [source for source in sources if is_row_by_row(source, table.info)]
    if not replace:
        for source in changed:
            if source not in row_by_row:
                raise _changed_error(table.name, source)
    is_any_done = any(entry.state == "done" for entry in entries.values())
    present = rows_by_shard(table.connection, table.name) if is_any_done else {}
    to_do: list[Source] = []
    skipped: list[tuple[Entry, int]] = []
    for source in sources:
        entry, rows = entries.get(source.number), present.get(source.number, 0)
        if (
            entry is None
            or entry.state != "done"
            or source in changed
            or (replace and rows < entry.rows)
        ):
            to_do.append(source)
        else:
            skipped.append((entry, rows))
    updated = [
        source
        for source in to_do
        if source in row_by_row
        and (entry := entries.get(source.number))
        and (source in changed or entry.state != "done")
    ]
    return _Plan(to_do, changed, updated, skipped, sum(source.rows for source in sources))


def _run(
    table: TableHandle,
    ledger: Ledger,
    plan: _Plan,
    before: Mapping[int, Claim],
    settings: LoadSettings,
    progress: Progress | None,
    on_wait: OnWait | None,
) -> list[ShardLoad]:
    with (
        Leases(table.connection, ledger, settings.times, settings.machine) as leases,
        workspace_folder() as workspace,
        Inserter(table.connection) as inserter,
    ):
        counter = RowCounter(plan.rows, progress)
        filler = ShardFiller(table, leases, inserter, workspace, settings.batch, counter)
        loader = Loader(table, ledger, leases, filler, counter)
        replacer = Replacer(table, ledger, leases, filler, counter)
        scheduler = Scheduler(leases, plan.to_do, before)
        updater = Updater(table, ledger, leases, filler, counter)
        worker = _Worker(table, ledger, loader, replacer, updater, scheduler, plan, workspace)
        worker.loads += [loader.skip(entry, rows) for entry, rows in plan.skipped]
        replacer.clear_staging()
        # Without merges no row can be deleted.
        with nullcontext() if plan.updated else filler.merges_paused():
            worker.work(on_wait)
        return worker.loads


@dataclass
class _Worker:
    """Loads the shards that the scheduler assigns, and reports them in ``loads``."""

    table: TableHandle
    ledger: Ledger
    loader: Loader
    replacer: Replacer
    updater: Updater
    scheduler: Scheduler
    plan: _Plan
    workspace: Path
    loads: list[ShardLoad] = field(default_factory=list)

    def work(self, on_wait: OnWait | None) -> None:
        """Load what no other worker is loading, and wait for the rest, until all shards are
        loaded."""
        while True:
            with closing(self._ready()) as ready:
                for assignment, shard in ready:
                    self._load(assignment, shard)
                    shard.clear()
            self._skip_loaded_by_others()
            if self.scheduler.is_finished:
                return
            self.scheduler.wait(on_wait)

    def _ready(self) -> Generator[tuple[Assignment, LocalShard], None, None]:
        """Assigned shards in local files. Copying takes long, so the next shard is claimed and
        copied while one is loaded. Local shards are claimed one by one, which leaves more to other
        workers."""
        pairs = (
            (assignment, shard)
            for assignment in self.scheduler.assign()
            for shard in local_shards([assignment.source], self.workspace)
        )
        return pairs if self.scheduler.are_local else prefetch(pairs)

    def _load(self, assignment: Assignment, shard: LocalShard) -> None:
        if assignment.source in self.plan.updated:
            load = self.updater.update
        elif assignment.source in self.plan.changed:
            load = self.replacer.replace
        else:
            load = self.loader.load
        try:
            self.loads.append(load(shard, assignment.lease))
        except LeaseLostError:
            self.scheduler.put_back(assignment)

    def _skip_loaded_by_others(self) -> None:
        """Raises TableError if another worker has loaded a shard from other files."""
        while self.scheduler.loaded_by_others:
            source = self.scheduler.loaded_by_others.pop()
            entry = self.ledger.read(source.number).get(source.number)
            if entry is None or not entry.same_files(source.files):
                raise _changed_error(self.table.name, source)
            self.loads.append(self.loader.skip_loaded_by_others(entry))


def _changed_error(table: str, source: Source) -> TableError:
    return TableError(
        f"shard {source.number}: its files have changed since it was loaded into "
        f"{table} ({source.files[0].path}); give --replace to load the new ones "
        "instead or, if this is another dataset, name another table with --table"
    )
