"""The parts of a request's time, which the answer tells in the header Server-Timing."""

from __future__ import annotations

import time
from contextvars import ContextVar

HEADER = "Server-Timing"


class Parts:
    """The time of one request, part after part, from now on."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def end(self, name: str, at: float | None = None) -> None:
        """End the part ``name`` now, or at an earlier time of time.perf_counter(). The next part
        begins there. Parts of the same name add up; of what is done at the same time, only what
        takes longer counts."""
        now = time.perf_counter() if at is None else at
        self._seconds[name] = self._seconds.get(name, 0.0) + max(0.0, now - self._last)
        self._last = max(self._last, now)

    def header(self) -> str:
        """The parts that have ended, in milliseconds, as the header has them."""
        return ", ".join(f"{name};dur={1000 * s:.2f}" for name, s in self._seconds.items())


_current: ContextVar[Parts | None] = ContextVar("parts", default=None)


def begin_parts() -> Parts:
    """Begin to time the request of this task and of those that it starts."""
    parts = Parts()
    _current.set(parts)
    return parts


def end_part(name: str, at: float | None = None) -> None:
    """End a part of the current request, if it is timed (see Parts.end)."""
    if (parts := _current.get()) is not None:
        parts.end(name, at)
