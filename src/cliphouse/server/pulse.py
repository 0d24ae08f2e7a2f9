"""Whether the database still answers, for /health."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from cliphouse.errors import CliphouseError, UnreachableError
from cliphouse.server.workers import Tables, close_all

log = logging.getLogger("cliphouse.server")
_FRESH_SECONDS = 1.0  # an answer is good for so long, however many ask
_PATIENCE = 3.0
_RETRY_SECONDS = 1.0


class Pulse:
    """Reads a row of every table in a thread and on connections of its own, so that a full queue of
    searches is not taken for a database that is gone."""

    def __init__(self, open_tables: Callable[[], Tables]) -> None:
        self._open_tables = open_tables
        self._tables: Tables | None = None
        self._thread = ThreadPoolExecutor(1, "pulse")
        self._asked: Future[str | None] | None = None
        self._asked_at = 0.0

    async def trouble(self) -> str | None:
        """Why the database cannot be searched, in some seconds at most; None if it can."""
        now = time.monotonic()
        if self._is_stale(now):
            self._asked, self._asked_at = self._thread.submit(self._ask), now
        assert self._asked is not None
        answer = asyncio.shield(asyncio.wrap_future(self._asked))
        try:
            return await asyncio.wait_for(answer, _PATIENCE)
        except asyncio.TimeoutError:
            return f"the database has not answered for {time.monotonic() - self._asked_at:.0f} s"

    def _is_stale(self, now: float) -> bool:
        """Whether to ask again: trouble may be over at any time."""
        if self._asked is None:
            return True
        if not self._asked.done():
            return False
        return now - self._asked_at > _FRESH_SECONDS or self._asked.result() is not None

    def close(self) -> None:
        """Let go of the database."""
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _ask(self) -> str | None:
        asked = ""
        try:
            if self._tables is None:
                self._tables = self._open_tables()
            for name, table in self._tables.items():
                asked = name
                table.connection.retry_seconds = _RETRY_SECONDS
                table.connection.rows(f"SELECT id FROM {table.handle.sql} LIMIT 1")
        except CliphouseError as error:
            log.warning("health: %s", error)  # it names the folder, which is not for everybody
            self._close()
            if isinstance(error, UnreachableError):
                return "the database does not answer"
            return f"table {asked} cannot be read" if asked else "the database cannot be opened"
        return None

    def _close(self) -> None:
        tables, self._tables = self._tables, None
        with suppress(CliphouseError):
            close_all(list((tables or {}).values()))
