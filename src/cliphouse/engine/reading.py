"""How much an embedded engine has read, by its own counters."""

from __future__ import annotations

from dataclasses import dataclass

from cliphouse.engine.connection import Connection

# Reading the counters is counted as well, afterwards: one row for each counter.
_COUNTERS = (
    "SELECT sumIf(value, event = 'SelectedRows') AS rows, "
    "sumIf(value, event = 'SelectedBytes') AS bytes, count() AS counters FROM system.events"
)


@dataclass(frozen=True)
class Reading:
    """Rows and (uncompressed) bytes read from tables and table functions."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class _Count:
    rows: int
    bytes: int
    counters: int


class ReadingMeter:
    """Measures what an embedded engine reads from the meter's creation until ``read``.

    The engine's statistics of a single query have only the rows of its result, so the meter
    compares the engine's counters. No other process uses an embedded engine.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        first = self._count()
        self._start = self._count()
        self._counter_bytes = (self._start.bytes - first.bytes) / first.counters

    def read(self) -> Reading:
        """What was read since the meter was created."""
        now, start = self._count(), self._start
        own_bytes = round(self._counter_bytes * start.counters)
        return Reading(
            max(0, now.rows - start.rows - start.counters),
            max(0, now.bytes - start.bytes - own_bytes),
        )

    def _count(self) -> _Count:
        counted = self._connection.query(_COUNTERS).to_pylist()[0]
        return _Count(int(counted["rows"]), int(counted["bytes"]), int(counted["counters"]))
