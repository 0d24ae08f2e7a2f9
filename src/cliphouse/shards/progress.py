"""How far a download is: what arrived, and how much of it there will be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

_TELL_SECONDS = 0.1

State = Literal["asking", "arriving", "waiting", "fetched", "missing", "failed"]


@dataclass(frozen=True)
class Step:
    """Where one file is, and the whole download. Sizes are in bytes, None where not yet known.

    While the source itself is ``asking`` how its files are named, ``name`` is the source's.
    ``done`` counts what earlier runs left; ``arrived`` and ``expected`` are of this run only.
    ``expected`` takes files that were not begun to be like those that were.
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


Tell = Callable[[Step], None]


@dataclass
class _File:
    kind: str
    done: int = 0
    size: int | None = None
    told_at: float = 0.0
    is_awaited: bool = True  # not missing, not given up


class Board:
    """Gathers from all threads, and tells from one at a time. Files are (name, kind)."""

    def __init__(self, files: Sequence[tuple[str, str]], tell: Tell | None) -> None:
        self._files = {name: _File(kind) for name, kind in files}
        self._tell = tell
        self._lock = threading.Lock()
        self._over = 0
        self._resumed = 0
        self.arrived = 0

    def asking(self, source: str, reason: str) -> None:
        """The source does not answer well yet."""
        with self._lock:
            self._say(source, "asking", reason)

    def begin(self, name: str, done: int) -> None:
        """A file starts with ``done`` bytes from an earlier run."""
        with self._lock:
            self._files[name].done = done
            self._resumed += done

    def arriving(self, name: str, done: int, size: int | None) -> None:
        """A file has ``done`` bytes now; told at most ten times a second."""
        with self._lock:
            file, now = self._files[name], time.monotonic()
            self.arrived += max(0, done - file.done)
            file.done, file.size = done, size
            if now - file.told_at >= _TELL_SECONDS:
                file.told_at = now
                self._say(name, "arriving", "")

    def waiting(self, name: str, reason: str) -> None:
        """A file waits for its next try."""
        with self._lock:
            self._say(name, "waiting", reason)

    def over(self, name: str, state: State, reason: str) -> None:
        """A file came to its end, a good one or not."""
        with self._lock:
            self._over += 1
            self._files[name].is_awaited = state == "fetched"
            self._say(name, state, reason)

    def _say(self, name: str, state: State, reason: str) -> None:
        if self._tell is None:
            return
        file, count = self._files.get(name, _File("")), len(self._files)
        expected = self._expected()
        step = Step(
            name, state, file.done, file.size, reason, self._over, count, self.arrived, expected
        )
        self._tell(step)

    def _expected(self) -> int | None:
        sizes: dict[str, list[int]] = {}
        unknown: dict[str, int] = {}
        for file in self._files.values():
            if file.size is not None:
                sizes.setdefault(file.kind, []).append(file.size)
            elif file.is_awaited:
                unknown[file.kind] = unknown.get(file.kind, 0) + 1
        every = [size for known in sizes.values() for size in known]
        if not every:
            return None
        guessed = 0.0
        for kind, count in unknown.items():
            alike = sizes.get(kind, every)
            guessed += count * sum(alike) / len(alike)
        return max(self.arrived, round(sum(every) + guessed) - self._resumed)
