"""Downloading shards: many files at once, with retries, until every file is complete."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from cliphouse.errors import ShardError
from cliphouse.shards.partial_file import (
    DownloadError,
    FileError,
    PartialFile,
    check_file,
    make_folder,
)
from cliphouse.shards.progress import DownloadProgress, ProgressTracker
from cliphouse.shards.retry import CorruptFileError, GaveUpError, Retrier, RetryPolicy
from cliphouse.shards.transfer import FileMissingError, Store, open_store
from cliphouse.shards.urls import (
    DEFAULT_SOURCE,
    KINDS,
    LAION_SHARDS,
    FileKind,
    choose_kinds,
    file_url,
    redact,
    url_templates,
)

DEFAULT_JOBS = 4
_STOP_SECONDS = 0.5

Outcome = Literal["fetched", "there", "missing", "failed"]


@dataclass(frozen=True)
class FileReport:
    """The outcome of one file. ``size`` is in bytes, 0 if the file does not exist."""

    shard: int
    kind: str
    path: str
    outcome: Outcome
    size: int
    reason: str = ""


@dataclass(frozen=True)
class DownloadReport:
    """The outcome of all files, by shard. ``arrived`` counts the bytes from the network."""

    source: str
    files: list[FileReport]
    arrived: int
    seconds: float

    @property
    def is_complete(self) -> bool:
        return not self.missing and not self.failed

    @property
    def fetched(self) -> list[FileReport]:
        return self._of("fetched")

    @property
    def there(self) -> list[FileReport]:
        return self._of("there")

    @property
    def missing(self) -> list[FileReport]:
        return self._of("missing")

    @property
    def failed(self) -> list[FileReport]:
        return self._of("failed")

    def _of(self, outcome: Outcome) -> list[FileReport]:
        return [file for file in self.files if file.outcome == outcome]


def download(
    numbers: Collection[int] | None,
    to: Path,
    source: str = DEFAULT_SOURCE,
    kinds: Iterable[str] = tuple(KINDS),
    jobs: int = DEFAULT_JOBS,
    progress: DownloadProgress | None = None,
    retry: RetryPolicy | None = None,
) -> DownloadReport:
    """Download the files of shards ``numbers`` (None: LAION's 0-409) into the folder ``to``.

    A complete file in the folder is kept, without a request. ``source`` is a folder's address or
    a template with ``{n}``. ``kinds`` are some of image, text and metadata. ``jobs`` files are
    fetched at the same time. ``progress`` is called from their threads, one call at a time.

    Raises UserError if an address cannot be used or the folder cannot be written, and
    DownloadError if the source never answers or the disk is full. The report names the files that
    are missing or failed.
    """
    started = time.monotonic()
    chosen = choose_kinds(kinds)
    files = _plan(range(LAION_SHARDS) if numbers is None else numbers, chosen, to)
    needed = [file for file in files if not _is_good(file.target)]
    for folder in {file.target.parent for file in needed}:
        make_folder(folder)
    reports = {file: file.report("there") for file in files}
    tracker = ProgressTracker([(file.name, file.kind.name) for file in needed], progress)
    if needed:
        retry = retry or RetryPolicy()
        with closing(open_store(source, retry.timeout)) as store:
            templates = _find_templates(store, source, needed, retry, tracker)
            reports |= _Fetcher(store, templates, retry, tracker).fetch(needed, jobs)
    seconds = time.monotonic() - started
    return DownloadReport(redact(source), list(reports.values()), tracker.arrived, seconds)


@dataclass(frozen=True)
class _File:
    number: int
    kind: FileKind
    target: Path

    @property
    def name(self) -> str:
        return self.kind.file_name(self.number)

    def report(self, outcome: Outcome, reason: str = "") -> FileReport:
        is_there = outcome in ("fetched", "there") and self.target.exists()
        size = self.target.stat().st_size if is_there else 0
        return FileReport(self.number, self.kind.name, str(self.target), outcome, size, reason)


def _plan(numbers: Collection[int], kinds: Collection[FileKind], to: Path) -> list[_File]:
    """The files shard by shard, so that complete shards come early."""
    existing = {kind: _existing(to, kind) for kind in kinds}
    return [
        _File(
            number, kind, existing[kind].get(number, to / kind.folders[0] / kind.file_name(number))
        )
        for number in sorted(set(numbers))
        for kind in kinds
    ]


def _existing(to: Path, kind: FileKind) -> dict[int, Path]:
    """The files in the folder under any name that `find_shards` finds, to fetch none twice."""
    found: dict[int, Path] = {}
    for folder in (*kind.folders, ""):
        for path in sorted((to / folder).glob(f"{kind.stem}_*.{kind.suffix}")):
            if match := re.fullmatch(rf"{kind.stem}_(\d+)\.{kind.suffix}", path.name, re.ASCII):
                found.setdefault(int(match[1]), path)
    return found


def _is_good(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        check_file(path)
    except ShardError:
        return False
    return True


def _find_templates(
    store: Store,
    source: str,
    needed: Sequence[_File],
    retry: RetryPolicy,
    tracker: ProgressTracker,
) -> dict[FileKind, str]:
    """Find the URL template of each kind of files among the templates in use.

    If no template finds a file, the first one is used, and the report of each file says what is
    wrong.
    """
    kinds = list(dict.fromkeys(file.kind for file in needed))
    templates: dict[FileKind, str] = {}

    def retrier() -> Retrier:
        report_wait = partial(tracker.asking, redact(source))
        return Retrier(retry, time.sleep, report_wait, is_first_contact=True)

    try:
        for kind in kinds:
            candidates = url_templates(source, kind, only_kind=len(kinds) == 1)
            numbers = sorted(file.number for file in needed if file.kind == kind)
            # The lowest number first: only a short number shows to which width numbers are padded.
            probes = dict.fromkeys((numbers[0], numbers[len(numbers) // 2], numbers[-1]))
            found = (
                template
                for number in (probes if len(candidates) > 1 else numbers[:1])
                for template in _distinct(candidates, number)
                if _exists(store, file_url(template, number), retrier())
            )
            templates[kind] = next(found, candidates[0])
    except GaveUpError as error:
        raise DownloadError(
            f"{redact(source)}: {error}; try again later, or name another source with --from"
        ) from error
    return templates


def _distinct(candidates: Iterable[str], number: int) -> list[str]:
    """Those of the templates that give different URLs for ``number``."""
    by_url: dict[str, str] = {}
    for template in candidates:
        by_url.setdefault(file_url(template, number), template)
    return list(by_url.values())


def _exists(store: Store, url: str, retrier: Retrier) -> bool:
    try:
        return retrier.run(lambda: store.exists(url))
    except GaveUpError:
        raise
    except FileError:  # the server refuses this URL, but perhaps not another
        return False


class _StoppedError(DownloadError):
    """The download was ended by another thread."""


class _Fetcher:
    """Threads that fetch files until none is left, or an error ends the download."""

    def __init__(
        self,
        store: Store,
        templates: dict[FileKind, str],
        retry: RetryPolicy,
        tracker: ProgressTracker,
    ) -> None:
        self._store, self._templates = store, templates
        self._retry, self._tracker = retry, tracker
        self._stopping = threading.Event()
        self._results: queue.Queue[tuple[_File, FileReport] | Exception] = queue.Queue()

    def fetch(self, files: Sequence[_File], jobs: int) -> dict[_File, FileReport]:
        """Fetch all files. Raises the first error that is not about a single file."""
        todo = iter(files)
        lock = threading.Lock()

        def work() -> None:
            while not self._stopping.is_set():
                with lock:
                    file = next(todo, None)
                if file is None:
                    return
                self._results.put(self._result(file))

        # Daemon threads: one that waits for a silent server must not keep an interrupted process.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(max(jobs, 1))]
        for thread in threads:
            thread.start()
        try:
            return dict(self._next_result() for _ in files)
        finally:
            self._stopping.set()
            deadline = time.monotonic() + _STOP_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _next_result(self) -> tuple[_File, FileReport]:
        result = self._results.get()
        if isinstance(result, Exception):
            raise result
        return result

    def _result(self, file: _File) -> tuple[_File, FileReport] | Exception:
        try:
            return file, self._fetch_one(file)
        except Exception as error:  # noqa: BLE001 - raised in the thread of the caller
            return error

    def _fetch_one(self, file: _File) -> FileReport:
        outcome: Literal["fetched", "missing", "failed"] = "fetched"
        reason = ""
        try:
            with PartialFile(file.target) as part:
                self._complete(file, part)
        except FileMissingError as error:
            outcome, reason = "missing", str(error)
        except FileError as error:
            outcome, reason = "failed", str(error)
        self._tracker.over(file.name, outcome, reason)
        return file.report(outcome, reason)

    def _complete(self, file: _File, part: PartialFile) -> None:
        """Fetch and check the file, with retries, and give it its name."""
        url = file_url(self._templates[file.kind], file.number)
        most = part.size
        self._tracker.begin(file.name, part.size)

        def on_arrival() -> None:
            if self._stopping.is_set():
                raise _StoppedError("stopped")
            size = part.version.size if part.version else None
            self._tracker.arriving(file.name, part.size, size)

        def attempt() -> None:
            nonlocal most
            try:
                if not part.is_complete:
                    self._store.fetch(url, part, on_arrival)
            finally:
                if part.size > most:
                    most = part.size
                    retrier.progressed()
            _check(part)

        retrier = Retrier(
            self._retry,
            self._sleep,
            report_wait=lambda reason: self._tracker.waiting(file.name, reason),
        )
        retrier.run(attempt)
        part.finish()

    def _sleep(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise _StoppedError("stopped")


def _check(part: PartialFile) -> None:
    try:
        check_file(part.path)
    except ShardError as error:
        part.discard()
        reason = str(error).removeprefix(f"{part.path}: ")
        raise CorruptFileError(f"complete, but its contents are wrong: {reason}") from error
