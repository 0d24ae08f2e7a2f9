"""The months, or the texts, by which a list of rows can be divided, with the rows of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cliphouse.engine.arrays import plain_value
from cliphouse.engine.quoting import backquote
from cliphouse.errors import QueryError
from cliphouse.schema.handle import TableHandle
from cliphouse.search.column_filter import ValueType
from cliphouse.search.filter import Filter

MOST_GROUPS = 5000


@dataclass(frozen=True)
class RowGroup:
    """``rows`` rows with the same ``value``, a text or a month as in 2019-03; None if they have
    none. ``first`` is the least of their ids."""

    value: str | None
    rows: int
    first: int


@dataclass(frozen=True)
class RowGroups:
    """Groups in the order of their values; ``are_all`` is False if there are more."""

    groups: Sequence[RowGroup]
    are_all: bool


def list_groups(table: TableHandle, column: str, filter: Filter | None = None) -> RowGroups:
    """Count the rows that meet ``filter`` by the values of ``column``, times by their months. At
    most MOST_GROUPS are listed.

    Raises QueryError if the table lacks the column, or it has neither texts nor times.
    """
    if column not in table.columns:
        there = ", ".join(table.columns)
        raise QueryError(f"groups: the table has no column {column}; it has {there}")
    kind = ValueType.of(table.columns[column])
    if kind.is_list or not (kind.is_text or kind.is_time):
        raise QueryError(f"groups: column {column} has neither texts nor times")
    name = backquote(column)
    value = f"toString(toYYYYMM({name}))" if kind.is_time else name
    condition = filter.condition(table.columns) if filter else None
    where = f"WHERE {condition.sql} " if condition else ""
    found = table.connection.rows(
        f"SELECT {value} AS group_value, count() AS rows, min(id) AS first FROM {table.sql} {where}"
        f"GROUP BY group_value ORDER BY group_value ASC NULLS LAST LIMIT {MOST_GROUPS + 1}",
        condition.parameters if condition else {},
    )
    groups = [
        RowGroup(_value(row["group_value"], kind), int(row["rows"]), int(row["first"]))
        for row in found[:MOST_GROUPS]
    ]
    return RowGroups(groups, len(found) <= MOST_GROUPS)


def _value(value: object, kind: ValueType) -> str | None:
    if value is None:
        return None
    text = str(plain_value(value))
    return f"{text[:-2]}-{text[-2:]}" if kind.is_time else text
