"""The part of a Table that loads rows: shards, and folders of pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cliphouse.engine.connection import Connection
from cliphouse.engine.database import GOES_ON, Database
from cliphouse.schema.handle import open_table
from cliphouse.search.query.encoders import TableEncoders
from cliphouse.vocabulary import Codes, Precision, Progress

if TYPE_CHECKING:
    from cliphouse.jobs import TableJobs
    from cliphouse.loading.drop import DroppedTable
    from cliphouse.loading.ingest import IngestReport
    from cliphouse.loading.options import IngestOptions, LoadSettings
    from cliphouse.loading.scheduler import OnWait
    from cliphouse.loading.sync import RootSync, SyncOptions, SyncReport
    from cliphouse.schema.index_spec import Extension
    from cliphouse.shards.roots import Root


class LoadingTable:
    """What of a Table loads rows. It makes the database and the table if they do not exist."""

    name: str
    _database: Database
    _encoders: TableEncoders

    def ingest(
        self,
        *folders: str | Path,
        shards: Collection[int] | None = None,
        precision: Precision | None = None,
        replace: bool = False,
        progress: Progress | None = None,
        codes: Codes | None = None,
        cluster: str | None = None,
        waiting: OnWait | None = None,
        settings: LoadSettings | None = None,
        keep: Sequence[str] | None = None,
        add_columns: Sequence[str] = (),
    ) -> IngestReport:
        """Load the shards below ``folders`` (see cliphouse.loading.ingest.ingest and
        IngestOptions)."""
        from cliphouse.loading.options import LOAD_SETTINGS, IngestOptions
        from cliphouse.shards.manifest import MANIFEST_NAME
        from cliphouse.shards.one_writer import no_writer

        self.refresh()
        model, settings = self._encoders.name, settings or LOAD_SETTINGS
        options = IngestOptions(
            shards, model, precision, codes, replace, cluster, settings, keep, add_columns
        )

        places = list(map(str, folders))
        with self._database.long_retries(GOES_ON), ExitStack() as locks:
            for place in places:
                if (Path(place) / MANIFEST_NAME).is_file():  # embed may write there again
                    locks.enter_context(no_writer(Path(place), "ingest"))
            report = self.load(places, options, progress, waiting)
        self._note_model()
        return report

    def load(
        self,
        places: Sequence[str],
        options: IngestOptions,
        progress: Progress | None = None,
        waiting: OnWait | None = None,
    ) -> IngestReport:
        """Load shards as ``ingest`` does, here or by the service that has the database. Whoever
        writes to the shards is not looked for."""
        from cliphouse.indexing.deleted import remove_deleted_if_quick
        from cliphouse.loading.ingest import ingest

        if (jobs := self._jobs()) is not None:
            return jobs.ingest(places, options, progress, waiting)

        def connect() -> Connection:
            return self._database.create_for(options.precision, options.codes)

        report = ingest(connect, self.name, places, options, progress, waiting)
        if report.removed or any(load.replaced for load in report.loads):
            remove_deleted_if_quick(open_table(self._database.connection, self.name))
        return report

    def sync(
        self,
        folder: str | Path | None = None,
        options: SyncOptions | None = None,
        progress: Progress | None = None,
    ) -> SyncReport:
        """Make the rows the pictures that are in ``folder`` now: new ones are embedded, changed
        ones again, renamed ones keep their rows, and those that are gone lose them (see
        cliphouse.loading.sync and cliphouse.pictures.embed.embed_folder). The folder becomes a root
        of the table, ``options.root``; without a folder, that root is synced where it is.

        Raises PictureError if the folder is missing, empty, or has lost more than half of its
        pictures and ``options`` do not allow that; UserError if there is no such root, or the
        folder cannot be it.
        """
        from cliphouse.loading.sync import SyncOptions, sync_folder

        self.refresh()
        with self._database.long_retries(GOES_ON):
            report = sync_folder(
                self._database,
                self.name,
                None if folder is None else Path(folder),
                self._encoders.for_new,
                self.load,
                options or SyncOptions(),
                progress,
            )
        if report.rows is None:
            return report
        self._note_model()
        return replace(report, extended=self.settle(report.folder, report.pictures.root))

    def sync_roots(
        self, options: SyncOptions | None = None, progress: Progress | None = None
    ) -> Iterator[RootSync]:
        """Sync each root of the table where it is, one at each step (see
        cliphouse.loading.sync.sync_roots)."""
        from cliphouse.loading.sync import SyncOptions, sync_roots

        chosen = options or SyncOptions()
        self.refresh()

        def sync(root: str) -> SyncReport:
            return self.sync(None, replace(chosen, root=root), progress)

        return sync_roots(self._database, self.name, sync, chosen.shards)

    def settle(self, folder: Path, root: Root | None) -> Extension | None:
        """After a sync of ``folder``, which is now ``root``: forget roots within it that no row
        names any more, and extend the indexes; here, or by the service that has the database."""
        from cliphouse.indexing.extend import extend_indexes
        from cliphouse.loading.roots import drop_swallowed

        if (jobs := self._jobs()) is not None:
            return jobs.settle(folder, root)
        with self._database.long_retries(GOES_ON):
            drop_swallowed(open_table(self._database.connection, self.name), folder, root)
            return extend_indexes(open_table(self._database.connection, self.name))

    def drop(self) -> DroppedTable:
        """Drop the table with its ledger (see cliphouse.loading.drop.drop_table). Files of shards
        stay. Raises TableError if there is no table, or somebody is loading into it."""
        from cliphouse.loading.drop import drop_table

        with self._database.long_retries(GOES_ON):
            dropped = drop_table(open_table(self._database.connection, self.name))
        self.refresh()
        return dropped

    def refresh(self) -> None:
        """Read the table anew for the next search."""
        raise NotImplementedError

    def _jobs(self) -> TableJobs | None:
        """The service's way to change the table, if one has the database open."""
        served = self._database.served
        if served is None:
            return None
        from cliphouse.jobs import TableJobs

        return TableJobs(served, self.name)

    def _note_model(self) -> None:
        """The table may say now which model it is, which SQL functions want to know."""
        connection = self._database.connection
        if connection.is_embedded:
            self._encoders.for_sql(connection)
