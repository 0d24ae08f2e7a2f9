"""The progress of a download: the bytes that have arrived, and an estimate of the total."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

_REPORT_SECONDS = 0.1

State = Literal["asking", "arriving", "waiting", "fetched", "missing", "failed"]


@dataclass(frozen=True)
class Step:
    """The state of one file and of the whole download. Sizes are in bytes, None if not known yet.

    In the state ``asking`` the names of the files are being found out, and ``name`` is the
    source. ``done`` includes bytes of earlier runs; ``arrived`` and ``expected`` are of this run
    only. ``expected`` assumes that files not begun are as large as files that are.
    """

    name: str
    state: State
    done: int
    size: int | None
    reason: str
    files_over: int
    files: int
    arrived: int
    expected: int | None


DownloadProgress: TypeAlias = Callable[[Step], None]


@dataclass
class _File:
    kind: str
    done: int = 0
    size: int | None = None
    reported_at: float = 0.0
    is_expected: bool = True  # not missing, not given up


class ProgressTracker:
    """Collects the progress of all threads, and reports it in one call at a time."""

    def __init__(self, files: Sequence[tuple[str, str]], progress: DownloadProgress | None) -> None:
        """``files`` are pairs of name and kind."""
        self._files = {name: _File(kind) for name, kind in files}
        self._progress = progress
        self._lock = threading.Lock()
        self._over = 0
        self._resumed = 0
        self.arrived = 0

    def asking(self, source: str, reason: str) -> None:
        """Report that the source does not answer yet."""
        with self._lock:
            self._report(source, "asking", reason)

    def begin(self, name: str, done: int) -> None:
        """Note that a file starts with ``done`` bytes of an earlier run."""
        with self._lock:
            self._files[name].done = done
            self._resumed += done

    def arriving(self, name: str, done: int, size: int | None) -> None:
        """Report that a file has ``done`` bytes now, at most ten times a second."""
        with self._lock:
            file, now = self._files[name], time.monotonic()
            self.arrived += max(0, done - file.done)
            file.done, file.size = done, size
            if now - file.reported_at >= _REPORT_SECONDS:
                file.reported_at = now
                self._report(name, "arriving", "")

    def waiting(self, name: str, reason: str) -> None:
        """Report that a file waits for its next attempt."""
        with self._lock:
            self._report(name, "waiting", reason)

    def over(self, name: str, state: State, reason: str) -> None:
        """Report that a file is fetched, missing or failed."""
        with self._lock:
            self._over += 1
            self._files[name].is_expected = state == "fetched"
            self._report(name, state, reason)

    def _report(self, name: str, state: State, reason: str) -> None:
        if self._progress is None:
            return
        file, count = self._files.get(name, _File("")), len(self._files)
        expected = self._expected()
        self._progress(
            Step(
                name, state, file.done, file.size, reason, self._over, count, self.arrived, expected
            )
        )

    def _expected(self) -> int | None:
        sizes: dict[str, list[int]] = {}
        unknown: dict[str, int] = {}
        for file in self._files.values():
            if file.size is not None:
                sizes.setdefault(file.kind, []).append(file.size)
            elif file.is_expected:
                unknown[file.kind] = unknown.get(file.kind, 0) + 1
        known = [size for of_kind in sizes.values() for size in of_kind]
        if not known:
            return None
        estimate = 0.0
        for kind, count in unknown.items():
            similar = sizes.get(kind, known)
            estimate += count * sum(similar) / len(similar)
        return max(self.arrived, round(sum(known) + estimate) - self._resumed)
