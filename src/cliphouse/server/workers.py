"""A pool of worker threads, each with its own tables, and their queue."""

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
    """A pool of ``count`` threads. Each has its own tables, as a table serves one thread only.

    If a caller is cancelled, its waiting work leaves the queue.
    """

    def __init__(self, open_tables: Callable[[], Tables], count: int) -> None:
        """Call ``open_tables`` in each thread, one after another. Raises what it raises."""
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
        """The number of tasks in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """The number of threads that run a task."""
        return self._running

    async def run(self, work: Callable[[Tables], _Result]) -> _Result:
        """Run ``work`` in a thread with its tables. Returns or raises what ``work`` does.

        Cancelling removes waiting work from the queue. Work that has begun is finished.
        """
        future: Future[_Result] = Future()
        with self._changed:
            if self._is_closing:
                raise OverloadError("the service is stopping; try again", retry_after=2)
            self._waiting.append((future, work))
            self._changed.notify()
        try:
            return await asyncio.wrap_future(future)
        finally:
            if future.cancelled():
                with self._changed:
                    self._waiting = deque(e for e in self._waiting if e[0] is not future)

    def close(self) -> None:
        """Finish the work in the queue, then close the tables and stop the threads."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _start(self, number: int) -> None:
        """Start a thread and wait for its tables: the engine must not open two at the same time."""
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
        except BaseException as error:  # noqa: BLE001 - passed on to the caller
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
        except BaseException as error:  # noqa: BLE001 - passed on to the caller
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
