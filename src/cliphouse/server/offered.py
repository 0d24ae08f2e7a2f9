"""Which columns the page has no use for, since no row has a value there."""

from __future__ import annotations

from dataclasses import dataclass

from cliphouse.inspection.empty import empty_columns
from cliphouse.inspection.summary import TableSummary
from cliphouse.schema.handle import TableHandle

# A larger table is one of a crawl, whose columns have values; to read them all would take seconds.
_MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class _Known:
    """What was found when the table had so many rows and bytes."""

    rows: int
    disk_bytes: int
    empty: frozenset[str]


class EmptyColumns:
    """Remembers the empty columns of each table until the table changes. Several threads may call
    its method."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def of(self, table: TableHandle, summary: TableSummary) -> frozenset[str]:
        """The empty columns of a table, as it is in ``summary``."""
        if summary.rows > _MOST_ROWS:
            return frozenset()
        known = self._known.get(table.name)
        if known is None or (known.rows, known.disk_bytes) != (summary.rows, summary.disk_bytes):
            known = _Known(summary.rows, summary.disk_bytes, empty_columns(table))
            self._known[table.name] = known
        return known.empty
