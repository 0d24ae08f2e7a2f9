"""The part of a Table that loads rows: shards, and folders of pictures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    from cliphouse.loading.drop import DroppedTable
    from cliphouse.loading.ingest import IngestReport
    from cliphouse.loading.options import LoadSettings
    from cliphouse.loading.scheduler import OnWait
    from cliphouse.loading.sync import SyncOptions, SyncReport


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
        from cliphouse.loading.ingest import ingest
        from cliphouse.loading.options import LOAD_SETTINGS, IngestOptions
        from cliphouse.shards.manifest import MANIFEST_NAME
        from cliphouse.shards.one_writer import no_writer

        self.refresh()
        model, settings = self._encoders.name, settings or LOAD_SETTINGS
        options = IngestOptions(
            shards, model, precision, codes, replace, cluster, settings, keep, add_columns
        )

        def connect() -> Connection:
            return self._database.create_for(precision, codes)

        places = list(map(str, folders))
        with self._database.long_retries(GOES_ON), ExitStack() as locks:
            for place in places:
                if (Path(place) / MANIFEST_NAME).is_file():  # embed may write there again
                    locks.enter_context(no_writer(Path(place), "ingest"))
            report = ingest(connect, self.name, places, options, progress, waiting)
        self._note_model()
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
        from cliphouse.indexing.extend import extend_indexes
        from cliphouse.loading.sync import SyncOptions, sync_folder

        self.refresh()
        with self._database.long_retries(GOES_ON):
            report = sync_folder(
                self._database,
                self.name,
                None if folder is None else Path(folder),
                self._encoders.for_new,
                options or SyncOptions(),
                progress,
            )
        if report.rows is None:
            return report
        self._note_model()
        with self._database.long_retries(GOES_ON):
            table = open_table(self._database.connection, self.name)
            return replace(report, extended=extend_indexes(table))

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

    def _note_model(self) -> None:
        """The table may say now which model it is, which SQL functions want to know."""
        connection = self._database.connection
        if connection.is_embedded:
            self._encoders.for_sql(connection)
