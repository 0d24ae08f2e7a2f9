"""Inserting batches in parallel: one insert keeps one core busy, and the engine takes several."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from cliphouse.engine.connection import Connection
from cliphouse.engine.staging import StagedRows

INSERTERS = 2


@dataclass(frozen=True)
class Batch:
    """``count`` rows that are ready to be inserted, and the settings of their insert."""

    count: int
    rows: StagedRows
    settings: dict[str, Any]


class Inserter:
    """Inserts batches with INSERTERS threads, each with its own client, while the block lasts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pool = ThreadPoolExecutor(INSERTERS)
        self._own = threading.local()
        self._clients: list[Connection] = []

    def insert(self, table: str, batches: Iterable[Batch]) -> Iterator[int]:
        """Insert ``batches``. Yields the number of rows of each, in order, once the engine has
        acknowledged it."""
        under_way: deque[tuple[Future[None], int]] = deque()
        for batch in batches:
            under_way.append((self._pool.submit(self._insert, table, batch), batch.count))
            if len(under_way) > INSERTERS - 1:
                yield _finished(*under_way.popleft())
        while under_way:
            yield _finished(*under_way.popleft())

    def _insert(self, table: str, batch: Batch) -> None:
        if not hasattr(self._own, "client"):
            self._own.client = self._connection.clone()
            self._clients.append(self._own.client)
        self._own.client.insert(table, batch.rows, batch.settings)

    def __enter__(self) -> Inserter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        for client in self._clients:
            client.close()


def _finished(insert: Future[None], count: int) -> int:
    insert.result()
    return count
