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
    """Measures what an embedded engine reads from the meter's creation until it is read.

    The engine's statistics of a single query have only the rows of its result, so the meter
    compares the engine's counters. No other process uses an embedded engine.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._start = self._count()

    def read_rows(self) -> int:
        """The rows that were read since the meter was created."""
        return self._rows_until(self._count())

    def read(self) -> Reading:
        """What was read since the meter was created."""
        now, then = self._count(), self._count()
        counter_bytes = (then.bytes - now.bytes) / now.counters
        own_bytes = round(counter_bytes * self._start.counters)
        return Reading(self._rows_until(now), max(0, now.bytes - self._start.bytes - own_bytes))

    def _rows_until(self, now: _Count) -> int:
        return max(0, now.rows - self._start.rows - self._start.counters)

    def _count(self) -> _Count:
        counted = self._connection.query(_COUNTERS).to_pylist()[0]
        return _Count(int(counted["rows"]), int(counted["bytes"]), int(counted["counters"]))
