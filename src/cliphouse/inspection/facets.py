"""Facets: how many rows have which value of a column, among the rows that meet a filter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cliphouse.engine.arrays import plain_value
from cliphouse.engine.quoting import backquote
from cliphouse.errors import QueryError
from cliphouse.inspection.statistics import Bin
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.column_filter import ValueType
from cliphouse.search.condition import Condition, explained
from cliphouse.search.request import Request
from cliphouse.search.statement import condition_of

MOST_VALUES = 100
_BINS = 20
NUMBER = re.compile(r"U?Int\d+|Float(32|64)|Decimal.*")
EMBEDDING = re.compile(r"Array\((Float32|BFloat16)\)")


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

    @classmethod
    def from_dict(cls, known: Mapping[str, Any]) -> Facet:
        """The facet that JSON has, as ``asdict`` writes it."""
        values = tuple(ValueCount(**each) for each in known["values"])
        bins = tuple(Bin(**each) for each in known["bins"])
        return cls(known["column"], values, known["others"], bins, known["nulls"])


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
        types = {n: sql for n, sql in table.columns.items() if not EMBEDDING.fullmatch(sql)}
        if name not in types:
            there = ", ".join(types)
            raise QueryError(f"facet {name}: the table has no such column to count; it has {there}")
        self._connection = table.connection
        self._name = name
        self._condition = condition
        self._kind = ValueType.of(types[name])
        self._from = f"FROM {table.sql} WHERE {condition.sql}"

    def facet(self, most: int) -> Facet:
        column = backquote(self._name)
        if not self._kind.is_list and self._kind.is_time:
            return self._binned(
                f"toFloat64(toUnixTimestamp64Milli(toDateTime64({column}, 3, 'UTC'))) / 1000"
            )
        if not self._kind.is_list and NUMBER.fullmatch(self._kind.base):
            return self._binned(f"toFloat64({column})")
        return self._listed(column, most)

    def _listed(self, column: str, most: int) -> Facet:
        """The most frequent values alone leave the engine: a column may have millions."""
        is_list = self._kind.is_list
        value = f"arrayJoin({column})" if is_list else column
        known = f"sum(countEqual(arrayMap(one -> isNotNull(one), {column}), 1))"
        totals = self._rows(
            f"SELECT {known if is_list else f'count({column})'} AS known, "
            f"countIf({'empty' if is_list else 'isNull'}({column})) AS nulls {self._from}"
        )[0]
        found = self._rows(
            f"SELECT value, count() AS rows FROM (SELECT {value} AS value {self._from}) "
            f"WHERE isNotNull(value) GROUP BY value ORDER BY rows DESC, value LIMIT {most}"
        )
        counts = tuple(ValueCount(plain_value(row["value"]), int(row["rows"])) for row in found)
        others = int(totals["known"]) - sum(each.rows for each in counts)
        return Facet(self._name, counts, others, nulls=int(totals["nulls"]))

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
