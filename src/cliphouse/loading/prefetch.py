"""Reading ahead: a thread makes the next items while the last one is in use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class _Made(Generic[_Item]):
    """What the thread hands over. The last has no items, and the error that ended the thread, if
    any."""

    items: tuple[_Item, ...] = ()
    error: BaseException | None = None


def prefetch(items: Iterable[_Item], depth: int = 1) -> Generator[_Item, None, None]:
    """Yield ``items`` in order, made in a thread at most ``depth`` ahead of the one in use.

    An error raised while making an item is raised here, in its turn. If the caller closes the
    generator early, the thread stops after the item that it is making.
    """
    made: queue.SimpleQueue[_Made[_Item]] = queue.SimpleQueue()
    room = threading.Semaphore(depth)
    stop = threading.Event()

    def make() -> None:
        try:
            iterator = iter(items)
            while room.acquire() and not stop.is_set():
                made.put(_Made((next(iterator),)))
        except StopIteration:
            made.put(_Made())
        except BaseException as error:  # noqa: BLE001 - handed over to the caller
            made.put(_Made(error=error))

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while (ready := made.get()).items:
            room.release()
            yield from ready.items
        if ready.error is not None:
            raise ready.error
    finally:
        stop.set()
        room.release()
        thread.join(1)  # an item that is being made may take long, and nobody needs it
