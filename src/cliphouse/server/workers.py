"""Threads that each have tables of their own, and the line of work before them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from cliphouse.errors import OverloadError
from cliphouse.table import Table

Tables = Mapping[str, Table]
_Result = TypeVar("_Result")


class Workers:
    """``count`` threads; a table serves one thread only, so each opens its own.

    Work that nobody waits for any more, because its client has gone, leaves the line.
    """

    def __init__(self, open_tables: Callable[[], Tables], count: int) -> None:
        """``open_tables`` is called in each thread in turn. Raises what it raises."""
        self._open_tables = open_tables
        self._waiting: deque[tuple[Future[Any], Callable[[Tables], Any]]] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._running = 0
        self._threads: list[threading.Thread] = []
        try:
            for number in range(count):
                self._start(number)
        except BaseException:
            self.close()
            raise

    @property
    def waiting(self) -> int:
        """How much work no thread has begun."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many threads are at work."""
        return self._running

    async def run(self, work: Callable[[Tables], _Result]) -> _Result:
        """What ``work`` returns, or raises, when given a thread's tables. Cancelling this takes
        the work out of the line; what has begun is finished."""
        future: Future[_Result] = Future()
        with self._changed:
            if self._is_closing:
                raise OverloadError("the service is ending; ask again", retry_after=2)
            self._waiting.append((future, work))
            self._changed.notify()
        try:
            return await asyncio.wrap_future(future)
        finally:
            if future.cancelled():
                with self._changed:
                    self._waiting = deque(e for e in self._waiting if e[0] is not future)

    def close(self) -> None:
        """Finish what is in the line, then let the threads close their tables and end."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _start(self, number: int) -> None:
        """One at a time: the engine's first clients are not opened side by side."""
        opened: Future[None] = Future()
        thread = threading.Thread(
            target=self._serve, args=(opened,), name=f"search-{number}", daemon=True
        )
        thread.start()
        self._threads.append(thread)
        opened.result()

    def _serve(self, opened: Future[None]) -> None:
        try:
            tables = self._open_tables()
        except BaseException as error:  # noqa: BLE001 - handed over to the one who waits
            opened.set_exception(error)
            return
        opened.set_result(None)
        try:
            while (entry := self._next()) is not None:
                self._do(*entry, tables)
        finally:
            close_all(list(tables.values()))

    def _do(self, future: Future[Any], work: Callable[[Tables], Any], tables: Tables) -> None:
        result, failure = None, None
        try:
            result = work(tables)
        except BaseException as error:  # noqa: BLE001 - handed over to the one who waits
            failure = error
        with self._changed:
            self._running -= 1
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)

    def _next(self) -> tuple[Future[Any], Callable[[Tables], Any]] | None:
        with self._changed:
            while True:
                while self._waiting:
                    entry = self._waiting.popleft()
                    if entry[0].set_running_or_notify_cancel():
                        self._running += 1
                        return entry
                if self._is_closing:
                    return None
                self._changed.wait()


def close_all(tables: Sequence[Table]) -> None:
    for table in tables:
        table.close()
