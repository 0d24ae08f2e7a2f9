"""The statements that run now, so that an interrupt can end them.

A statement of the embedded engine keeps its thread in the engine's code, and a server goes on with
one whose client has gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Ends a statement, or all those that began more than so many seconds ago.
End = Callable[[str, float], None]

_running: dict[object, tuple[float, End, str]] = {}


@contextmanager
def may_be_ended(end: End, which: str) -> Iterator[None]:
    """While the block runs, `end_statements` calls ``end`` with ``which`` and the seconds since
    its time. Several blocks with the same two are ended by one call."""
    key = object()
    _running[key] = (time.monotonic(), end, which)
    try:
        yield
    finally:
        del _running[key]


def end_statements(before: float) -> None:
    """End the statements of all threads that began before that time, by time.monotonic(). Those
    that cannot be ended, as on a server that is gone, are left."""
    begun = {(end, which) for started, end, which in list(_running.values()) if started <= before}
    for end, which in begun:
        with suppress(Exception):
            end(which, time.monotonic() - before)
