"""Which share of a table passes a filter, estimated from a few granules."""

from __future__ import annotations

from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.condition import Condition, explained

_SPOTS = 20
_SPOT_ROWS = 512


def estimate_selectivity(table: TableHandle, facts: TableFacts, condition: Condition) -> float:
    """The share of rows that pass ``condition``, between 0 and 1.

    Counted over 20 stretches of 512 rows, evenly over the largest part and at the same places of
    those that reach so far; exact for small tables. If no sampled row passes, half of one is
    taken to have passed.
    """
    spots = ""
    if facts.largest_part > _SPOTS * _SPOT_ROWS:
        step = facts.largest_part / _SPOTS
        starts = [int((i + 0.5) * step) for i in range(_SPOTS)]
        ranges = " OR ".join(
            f"_part_offset BETWEEN {start} AND {start + _SPOT_ROWS - 1}" for start in starts
        )
        spots = f" WHERE {ranges}"
    sql = f"SELECT count() AS rows, countIf({condition.sql}) AS passed FROM {table.sql}{spots}"
    with explained(condition, sql):
        found = table.connection.query(sql, condition.parameters)
    rows, passed = int(found.column("rows")[0].as_py()), int(found.column("passed")[0].as_py())
    return max(passed, 0.5) / max(rows, 1)
