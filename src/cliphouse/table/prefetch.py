"""Reading ahead: the next items are made in a thread while the last are being used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

_Item = TypeVar("_Item")


def prefetch(items: Iterable[_Item], depth: int = 1) -> Generator[_Item, None, None]:
    """Yield ``items`` in order, made in a thread at most ``depth`` ahead of the one in use.

    An error raised while making an item is raised here, in its turn. Leaving early stops the
    thread after the item it is making.
    """
    ready: queue.Queue[tuple[_Item | None, BaseException | None, bool]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[_Item | None, BaseException | None, bool]) -> None:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put((item, None, False))
                if stop.is_set():
                    return
            put((None, None, True))
        except BaseException as error:  # noqa: BLE001 - handed over to the reader
            put((None, error, True))

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]  # an entry that is not the last holds an item
    finally:
        stop.set()
        thread.join(1)  # an item under way may take long; it is nobody's any more
