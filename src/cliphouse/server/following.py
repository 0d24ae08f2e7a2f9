"""Keeps a served table in step with a folder of pictures, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType

from cliphouse.errors import CliphouseError
from cliphouse.loading.sync import SyncOptions, SyncReport
from cliphouse.pictures.watch import quiet_moments
from cliphouse.server.settings import ServeSettings
from cliphouse.table import Table
from cliphouse.vocabulary import Progress

log = logging.getLogger("cliphouse.server")


class _StoppedError(Exception):
    """The service ends in the middle of a sync, which goes on where it was the next time."""


class Follower:
    """Follows ``folder`` with the first table of ``settings`` while the block lasts."""

    def __init__(self, settings: ServeSettings, folder: Path) -> None:
        self._folder = folder
        self._table = Table(
            settings.db,
            settings.tables[0],
            settings.model,
            settings.model_dir,
            device=settings.device,
            threads=settings.threads,
            wait=settings.patience,
        )
        self._options = SyncOptions(settings.sync_to)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="sync", daemon=True)

    def sync(self, progress: Progress | None = None) -> SyncReport:
        """Make the table what the folder is now. Raises what Table.sync raises."""
        return self._table.sync(self._folder, self._options, progress)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._table.close()

    def _follow(self) -> None:
        for _ in quiet_moments(self._folder, self._stop):
            try:
                done = self.sync(self._check)
            except _StoppedError:
                return
            except CliphouseError as error:  # such as a folder that is not there for a while
                log.warning("sync: %s", error)
                continue
            if not done.pictures.changes.is_none:
                found = done.pictures
                log.info(
                    "sync: %d new, %d changed, %d renamed, %d gone",
                    *(found.new, found.changed, found.renamed, found.gone),
                )

    def _check(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise _StoppedError
