"""The candidates of approximate searches, listed for many queries at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from cliphouse.engine.connection import Connection
from cliphouse.recall.questions import Question
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.query.parameter import encode_parameter

_THREADS = min(4, os.cpu_count() or 1)  # a search of a graph keeps one core busy


class Lister:
    """Runs the statement of a shortlist for many queries, on connections of its own."""

    def __init__(self, table: TableHandle, facts: TableFacts) -> None:
        self._connection = table.connection
        self._precision = facts.info.precision
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="recall")
        self._own = threading.local()
        self._opened: list[Connection] = []

    def __enter__(self) -> Lister:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for connection in self._opened:
            connection.close()

    def list_ids(self, sql: str, questions: Sequence[Question]) -> list[list[int]]:
        """The ids that the statement finds for each query, in its order."""

        def one(question: Question) -> list[int]:
            target = encode_parameter(question.vector, self._precision)
            found = self._mine().query(sql, {"target": target})
            ids: list[int] = found.column("id").to_pylist()
            return ids

        return list(self._pool.map(one, questions))

    def _mine(self) -> Connection:
        """The connection of this thread."""
        if not hasattr(self._own, "connection"):
            self._own.connection = self._connection.clone()
            self._opened.append(self._own.connection)
        connection: Connection = self._own.connection
        return connection
