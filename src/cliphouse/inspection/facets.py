"""Facets: how many rows have which value of a column, among the rows that meet a filter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cliphouse.engine.quoting import backquote
from cliphouse.errors import QueryError
from cliphouse.inspection.statistics import Bin
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.condition import Condition, explained
from cliphouse.search.request import Request
from cliphouse.search.statement import condition_of

MOST_VALUES = 100
_BINS = 20
_NUMBER = re.compile(r"U?Int\d+|Float(32|64)|Decimal.*")
_TIME = re.compile(r"Date.*")
_WRAPPED = re.compile(r"(Array|Nullable|LowCardinality)\((.*)\)")


@dataclass(frozen=True)
class ValueCount:
    """How many rows have this value."""

    value: Any
    rows: int


@dataclass(frozen=True)
class Facet:
    """The values of a column.

    A column of text or booleans has ``values``, the most frequent first, and ``others``, the rows
    with any other value. Of a list every item counts. A column of numbers or times has ``bins`` of
    equal width from the least to the greatest value, the last of which includes its end; times are
    seconds since 1970. ``nulls`` counts the rows without a value: null, NaN or an empty list.
    """

    column: str
    values: tuple[ValueCount, ...] = ()
    others: int = 0
    bins: tuple[Bin, ...] = ()
    nulls: int = 0


def read_facets(
    table: TableHandle, facts: TableFacts, names: Sequence[str], request: Request, most: int = 20
) -> tuple[Facet, ...]:
    """The facets of the columns ``names`` among the rows that meet the filters of ``request``, each
    with at most ``most`` values.

    Raises QueryError if the table has no such column or it has embeddings, ConditionError if the
    engine does not take the filters.
    """
    condition = condition_of(request, facts) or Condition("1")
    if not 1 <= most <= MOST_VALUES:
        raise QueryError(f"facets have 1 to {MOST_VALUES} values, not {most}")
    return tuple(_Counter(table, name, condition).facet(most) for name in names)


class _Counter:
    def __init__(self, table: TableHandle, name: str, condition: Condition) -> None:
        kind = table.columns.get(name)
        if kind is None or re.fullmatch(r"Array\(B?Float(16|32)\)", kind):
            there = ", ".join(n for n, t in table.columns.items() if not t.startswith("Array(B?Fl"))
            raise QueryError(f"facet {name}: the table has no such column to count; it has {there}")
        self._connection = table.connection
        self._name = name
        self._condition = condition
        self._is_list, self._base = False, kind
        while match := _WRAPPED.fullmatch(self._base):
            self._is_list, self._base = self._is_list or match[1] == "Array", match[2]
        self._from = f"FROM {table.sql} WHERE {condition.sql}"

    def facet(self, most: int) -> Facet:
        if _NUMBER.fullmatch(self._base) and not self._is_list:
            return self._binned(f"toFloat64OrNull(toString({backquote(self._name)}))")
        if _TIME.fullmatch(self._base) and not self._is_list:
            return self._binned(f"toFloat64(toUnixTimestamp64Milli(toDateTime64("
                                f"{backquote(self._name)}, 3, 'UTC'))) / 1000")  # fmt: skip
        return self._listed(most)

    def _listed(self, most: int) -> Facet:
        column = backquote(self._name)
        value = f"arrayJoin({column})" if self._is_list else column
        found = self._rows(
            f"SELECT {value} AS value, count() AS rows {self._from} "
            f"GROUP BY value ORDER BY rows DESC, value"
        )
        known = [(row["value"], int(row["rows"])) for row in found if row["value"] is not None]
        empty = f"empty({column})" if self._is_list else f"isNull({column})"
        nulls = int(self._rows(f"SELECT countIf({empty}) AS n {self._from}")[0]["n"])
        counts = tuple(ValueCount(_plain(value), rows) for value, rows in known[:most])
        return Facet(self._name, counts, sum(rows for _, rows in known[most:]), nulls=nulls)

    def _binned(self, number: str) -> Facet:
        known = f"ifNull(isFinite({number}), 0)"
        bounds = self._rows(
            f"SELECT minIf({number}, {known}) AS low, maxIf({number}, {known}) AS high, "
            f"countIf(NOT {known}) AS nulls, countIf({known}) AS rows {self._from}"
        )[0]
        nulls = int(bounds["nulls"])
        if not bounds["rows"]:
            return Facet(self._name, nulls=nulls)
        low, high = float(bounds["low"]), float(bounds["high"])
        step = (high - low) / _BINS
        if not step:
            return Facet(self._name, bins=(Bin(low, high, int(bounds["rows"])),), nulls=nulls)
        place = (
            f"least(toInt64(floor((assumeNotNull({number}) - {low!r}) / {step!r})), {_BINS - 1})"
        )
        found = self._rows(
            f"SELECT {place} AS bin, count() AS rows {self._from} AND {known} GROUP BY bin"
        )
        counts = {int(row["bin"]): int(row["rows"]) for row in found}
        bins = (Bin(low + n * step, low + (n + 1) * step, counts.get(n, 0)) for n in range(_BINS))
        return Facet(self._name, bins=tuple(bins), nulls=nulls)

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        with explained(self._condition, sql):
            return self._connection.rows(sql, self._condition.parameters)


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
