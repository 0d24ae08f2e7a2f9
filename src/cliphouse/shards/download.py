"""Fetching shards: many files at once, however the server behaves, until all are whole."""

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
from cliphouse.shards.addresses import (
    DEFAULT_SOURCE,
    KINDS,
    LAION_SHARDS,
    Kind,
    address,
    addresses,
    choose_kinds,
    shown,
)
from cliphouse.shards.part import DownloadError, FileError, Part, check_file, make_folder
from cliphouse.shards.patience import BrokenError, GivenUpError, Patience, Tries
from cliphouse.shards.progress import Board, Tell
from cliphouse.shards.transfer import FileMissingError, Store, open_store

DEFAULT_JOBS = 4
_STOP_SECONDS = 0.5

Outcome = Literal["fetched", "there", "missing", "failed"]


@dataclass(frozen=True)
class FileReport:
    """What became of one file. ``size`` is in bytes, 0 where it is not there."""

    shard: int
    kind: str
    path: str
    outcome: Outcome
    size: int
    reason: str = ""


@dataclass(frozen=True)
class DownloadReport:
    """What became of all files, by shard. ``arrived`` is the bytes that came over the network."""

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
    progress: Tell | None = None,
    patience: Patience | None = None,
) -> DownloadReport:
    """Fetch the files of shards ``numbers`` (None: LAION's 0-409) into the folder ``to``.

    A file that is there already and whole is left alone, without asking the network. ``source``
    is a folder's address or a template with ``{n}``. ``kinds`` are of image, text and metadata.
    ``jobs`` files are fetched at once. ``progress`` is called from their threads, one call at a
    time.

    Raises UserError where an address cannot be used or the folder cannot be written, and
    DownloadError where the source never answers or the disk is full. What befalls one file only
    is told in the report.
    """
    started = time.monotonic()
    chosen = choose_kinds(kinds)
    files = _plan(range(LAION_SHARDS) if numbers is None else numbers, chosen, to)
    needed = [file for file in files if not _is_good(file.target)]
    for folder in {file.target.parent for file in needed}:
        make_folder(folder)
    reports = {file: file.report("there") for file in files}
    board = Board([(file.name, file.kind.name) for file in needed], progress)
    if needed:
        patience = patience or Patience()
        with closing(open_store(source, patience.timeout)) as store:
            templates = _settle(store, source, needed, patience, board)
            reports |= _Crew(store, templates, patience, board).fetch(needed, jobs)
    seconds = time.monotonic() - started
    return DownloadReport(shown(source), list(reports.values()), board.arrived, seconds)


@dataclass(frozen=True)
class _File:
    number: int
    kind: Kind
    target: Path

    @property
    def name(self) -> str:
        return self.kind.file_name(self.number)

    def report(self, outcome: Outcome, reason: str = "") -> FileReport:
        is_there = outcome in ("fetched", "there") and self.target.exists()
        size = self.target.stat().st_size if is_there else 0
        return FileReport(self.number, self.kind.name, str(self.target), outcome, size, reason)


def _plan(numbers: Collection[int], kinds: Collection[Kind], to: Path) -> list[_File]:
    """Shard by shard, so that whole shards come early."""
    existing = {kind: _existing(to, kind) for kind in kinds}
    return [
        _File(
            number, kind, existing[kind].get(number, to / kind.folders[0] / kind.file_name(number))
        )
        for number in sorted(set(numbers))
        for kind in kinds
    ]


def _existing(to: Path, kind: Kind) -> dict[int, Path]:
    """Files that are there under any name that `find_shards` knows, so that none comes twice."""
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


def _settle(
    store: Store, source: str, needed: Sequence[_File], patience: Patience, board: Board
) -> dict[Kind, str]:
    """Find out, once for each kind, under which of the names in use its files are.

    Where none is found the first name stands, and every file tells for itself what is wrong.
    """
    kinds = list(dict.fromkeys(file.kind for file in needed))
    templates: dict[Kind, str] = {}

    def tries() -> Tries:
        announce = partial(board.asking, shown(source))
        return Tries(patience, time.sleep, announce, is_first=True)

    try:
        for kind in kinds:
            candidates = addresses(source, kind, alone=len(kinds) == 1)
            numbers = sorted(file.number for file in needed if file.kind == kind)
            # The lowest number first: only short numbers tell how far they are padded.
            probes = dict.fromkeys((numbers[0], numbers[len(numbers) // 2], numbers[-1]))
            found = (
                template
                for number in (probes if len(candidates) > 1 else numbers[:1])
                for template in _distinct(candidates, number)
                if _answers(store, address(template, number), tries())
            )
            templates[kind] = next(found, candidates[0])
    except GivenUpError as error:
        raise DownloadError(
            f"{shown(source)}: {error}; try again later, or name another source with --from"
        ) from error
    return templates


def _distinct(candidates: Iterable[str], number: int) -> list[str]:
    by_address: dict[str, str] = {}
    for template in candidates:
        by_address.setdefault(address(template, number), template)
    return list(by_address.values())


def _answers(store: Store, url: str, tries: Tries) -> bool:
    try:
        return tries.run(lambda: store.exists(url))
    except GivenUpError:
        raise
    except FileError:  # refused here; perhaps not under another name
        return False


class _StoppedError(DownloadError):
    """Another thread met the end of the download."""


class _Crew:
    """Threads that fetch files until there are none left, or one of them meets the end."""

    def __init__(
        self, store: Store, templates: dict[Kind, str], patience: Patience, board: Board
    ) -> None:
        self._store, self._templates = store, templates
        self._patience, self._board = patience, board
        self._stopping = threading.Event()
        self._results: queue.Queue[tuple[_File, FileReport] | Exception] = queue.Queue()

    def fetch(self, files: Sequence[_File], jobs: int) -> dict[_File, FileReport]:
        """Fetch all. Raises the first error that is not about one file alone."""
        todo = iter(files)
        lock = threading.Lock()

        def work() -> None:
            while not self._stopping.is_set():
                with lock:
                    file = next(todo, None)
                if file is None:
                    return
                self._results.put(self._guarded(file))

        # Daemons: one that waits for a silent server must not keep an interrupted process.
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

    def _guarded(self, file: _File) -> tuple[_File, FileReport] | Exception:
        try:
            return file, self._fetch_one(file)
        except Exception as error:  # noqa: BLE001 - handed over to the caller's thread
            return error

    def _fetch_one(self, file: _File) -> FileReport:
        outcome: Literal["fetched", "missing", "failed"] = "fetched"
        reason = ""
        try:
            with Part(file.target) as part:
                self._complete(file, part)
        except FileMissingError as error:
            outcome, reason = "missing", str(error)
        except FileError as error:
            outcome, reason = "failed", str(error)
        self._board.over(file.name, outcome, reason)
        return file.report(outcome, reason)

    def _complete(self, file: _File, part: Part) -> None:
        """Try until the part is whole and right, and give it its name."""
        url = address(self._templates[file.kind], file.number)
        most = part.size
        self._board.begin(file.name, part.size)

        def arrived() -> None:
            if self._stopping.is_set():
                raise _StoppedError("stopped")
            size = part.version.size if part.version else None
            self._board.arriving(file.name, part.size, size)

        def attempt() -> None:
            nonlocal most
            try:
                if not part.is_whole:
                    self._store.fetch(url, part, arrived)
            finally:
                if part.size > most:
                    most = part.size
                    tries.progressed()
            _check(part)

        tries = Tries(
            self._patience,
            self._sleep,
            announce=lambda reason: self._board.waiting(file.name, reason),
        )
        tries.run(attempt)
        part.finish()

    def _sleep(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise _StoppedError("stopped")


def _check(part: Part) -> None:
    try:
        check_file(part.path)
    except ShardError as error:
        part.discard()
        reason = str(error).removeprefix(f"{part.path}: ")
        raise BrokenError(f"arrived whole, but is wrong: {reason}") from error
