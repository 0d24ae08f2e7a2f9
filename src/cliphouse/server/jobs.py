"""Does the jobs of other processes of the owner (see cliphouse.jobs), one at a time, and tells them
how far it is in lines of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from cliphouse.engine.occupant import Patience
from cliphouse.errors import CliphouseError, UserError
from cliphouse.jobs import options_from_json
from cliphouse.loading.lease import ActiveLoad
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.server.settings import ServeSettings
from cliphouse.shards.roots import Root
from cliphouse.table import Table

log = logging.getLogger("cliphouse.server")
_TELL_SECONDS = 0.1
_SIGN_SECONDS = 1.0  # after which a line without news shows whether the caller is still there


class _StoppedError(Exception):
    """The caller has gone, or the service ends."""


class Job:
    """A job from its beginning to its end, in a thread of its own. ``lines`` are for the caller."""

    def __init__(self, settings: ServeSettings, asked: Mapping[str, Any]) -> None:
        self._settings = settings
        self._asked = asked
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._stop = threading.Event()
        self._told_at = 0.0
        self.is_done = False
        self._thread = threading.Thread(target=self._run, name=f"job-{asked['kind']}", daemon=True)
        since = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        self.description = f"{asked['kind']} of process {asked['process']}, since {since}"
        self._thread.start()

    async def lines(self) -> AsyncIterator[bytes]:
        """What the job tells, to its end. A caller who stops reading stops it."""
        try:
            while True:
                try:
                    line = await asyncio.wait_for(self._lines.get(), _SIGN_SECONDS)
                except asyncio.TimeoutError:
                    line = b"\n"
                if line is None:
                    return
                yield line
        finally:
            self._stop.set()

    def stop(self) -> None:
        """Stop the job when it next tells how far it is."""
        self._stop.set()

    def wait(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def tell_progress(self, done: int, total: int) -> None:
        self._tell({"progress": [done, total]}, is_last=done >= total)

    def tell_shares(self, shares: Mapping[str, float]) -> None:
        self._tell({"shares": dict(shares)})

    def tell_waiting(self, loads: Sequence[ActiveLoad]) -> None:
        self._tell({"waiting": [asdict(load) for load in loads]}, is_last=True)

    def _tell(self, event: Mapping[str, Any], is_last: bool = False) -> None:
        """Raises _StoppedError if the job is to end."""
        if self._stop.is_set():
            raise _StoppedError
        now = time.monotonic()
        if is_last or now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            self._send(event)

    def _run(self) -> None:
        log.info("job: %s", self.description)
        try:
            with self._table() as table:
                done = _KINDS[self._asked["kind"]](table, self._asked["given"], self)
            self._end({"done": done})
        except _StoppedError:
            self._fail(CliphouseError.code, "the job was stopped; run the same command again")
        except CliphouseError as error:
            self._fail(error.code, str(error))
        except Exception as error:
            log.exception("a fault of cliphouse, in the job %s", self.description)
            self._fail(CliphouseError.code, f"{type(error).__name__}: {error}")
        finally:
            self._put(None)

    def _table(self) -> Table:
        settings = self._settings
        return Table(
            settings.db,
            self._asked["table"],
            settings.model,
            settings.model_dir,
            device=settings.device,
            threads=settings.threads,
            wait=Patience(for_engine=True),
        )

    def _fail(self, code: str, message: str) -> None:
        log.info("job: %s: %s", self.description, message)
        self._end({"error": {"code": code, "message": message}})

    def _end(self, event: Mapping[str, Any]) -> None:
        """Send the last event. The caller may begin another job at once."""
        self.is_done = True
        self._send(event)

    def _send(self, event: Mapping[str, Any]) -> None:
        self._put(json.dumps(event).encode() + b"\n")

    def _put(self, line: bytes | None) -> None:
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


class Jobs:
    """The job that is being done, if any. Its methods are called from one event loop."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._current: Job | None = None

    def begin(self, asked: Mapping[str, Any]) -> Job:
        """Raises UserError if another job is being done, or there is none of this kind."""
        if asked["kind"] not in _KINDS:
            raise UserError(f"no job {asked['kind']!r}; is the service of another release?")
        if self._current is not None and not self._current.is_done:
            raise UserError(
                f"the service is at work: {self._current.description}; run the command again when "
                "it has ended"
            )
        self._current = Job(self._settings, asked)
        return self._current

    def stop(self) -> None:
        if self._current is not None:
            self._current.stop()

    def close(self) -> None:
        """Stop the job that is being done, and wait for its end."""
        if self._current is not None:
            self._current.stop()
            self._current.wait()


def _ingest(table: Table, given: Mapping[str, Any], job: Job) -> Any:
    options = options_from_json(given["options"])
    return asdict(table.load(given["places"], options, job.tell_progress, job.tell_waiting))


def _settle(table: Table, given: Mapping[str, Any], job: Job) -> Any:
    root = None if given["root"] is None else Root(**given["root"])
    extended = table.settle(Path(given["folder"]), root)
    return None if extended is None else asdict(extended)


def _index(table: Table, given: Mapping[str, Any], job: Job) -> Any:
    spec = IndexSpec(**given["spec"])
    return asdict(table.index(spec, job.tell_shares, force=given["force"]))


def _index_captions(table: Table, given: Mapping[str, Any], job: Job) -> Any:
    return asdict(table.index_captions(job.tell_shares))


def _drop_index(table: Table, given: Mapping[str, Any], job: Job) -> Any:
    return table.drop_index(**given)


def _recall(table: Table, given: Mapping[str, Any], job: Job) -> Any:
    return [asdict(entry) for entry in table.recall(**given, progress=job.tell_progress)]


_KINDS: Mapping[str, Callable[[Table, Mapping[str, Any], Job], Any]] = {
    "ingest": _ingest,
    "settle": _settle,
    "index": _index,
    "index_captions": _index_captions,
    "drop_index": _drop_index,
    "recall": _recall,
}
