"""Which columns the page has no use for, since no row has a value there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from cliphouse.errors import CliphouseError
from cliphouse.inspection.empty import empty_columns
from cliphouse.inspection.summary import TableSummary, summarise
from cliphouse.schema.handle import TableHandle
from cliphouse.table import Table

# Runs work with a table in a worker of the service.
Read = Callable[[Callable[[Table], None]], Awaitable[None]]
# A larger table is one of a crawl, whose columns have values; to read them all would take seconds.
_MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class _Known:
    """What was found when the table had so many rows and bytes."""

    rows: int
    disk_bytes: int
    empty: frozenset[str]


class EmptyColumns:
    """Remembers the empty columns of each table. When it has changed, they are looked for again
    behind the request that has noticed it: nobody waits for them."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}

    def look(self, table: TableHandle, summary: TableSummary) -> None:
        """Find the empty columns of a table, as it is in ``summary``."""
        empty = empty_columns(table) if summary.rows <= _MOST_ROWS else frozenset[str]()
        self._known[table.name] = _Known(summary.rows, summary.disk_bytes, empty)

    def known(self, name: str) -> frozenset[str]:
        """The empty columns of the table called ``name`` when it was last looked at."""
        known = self._known.get(name)
        return known.empty if known is not None else frozenset()

    def renew(self, name: str, rows: int, disk_bytes: int, read: Read) -> None:
        """Look again, by ``read``, if the table has other ``rows`` or bytes than when it was looked
        at. Call it from the event loop."""
        known = self._known.get(name)
        is_new = known is not None and (known.rows, known.disk_bytes) == (rows, disk_bytes)
        if is_new or name in self._looks:
            return
        task = self._looks[name] = asyncio.create_task(self._look_again(read))
        task.add_done_callback(lambda _: self._looks.pop(name, None))

    async def _look_again(self, read: Read) -> None:
        def look(one: Table) -> None:
            handle = one.handle
            self.look(handle, summarise(handle))

        with suppress(CliphouseError):  # the next request tries again
            await read(look)
