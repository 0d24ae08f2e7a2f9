"""All rows of a table in the order of a column, page by page, without a query."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cliphouse.engine.quoting import backquote, quote
from cliphouse.errors import QueryError
from cliphouse.schema.handle import TableHandle
from cliphouse.search.column_filter import ValueType
from cliphouse.search.condition import Condition, every
from cliphouse.search.filter import Filter
from cliphouse.search.mention import mentions
from cliphouse.search.rows import read_rows

ID = "id"
MOST_ROWS = 1000
_PLACE = "query_place"  # a name of the statement's own, which no table is likely to have
_UNORDERED = ("Map(", "Tuple(", "JSON", "Nested(", "Variant(", "Dynamic")


@dataclass(frozen=True)
class RowPage:
    """Some rows of a table in order, each with its columns, and the token of the next page; None
    after the last row."""

    rows: Sequence[Mapping[str, Any]]
    cursor: str | None


@dataclass(frozen=True)
class Start:
    """The place in an order before its first row that has ``value`` or a later one; with None,
    before those without a value."""

    value: str | int | float | None


@dataclass(frozen=True)
class Listing:
    """Which rows to list: the next ``k`` that meet ``filter``, in the order of a column.

    ``sort`` is the column's name, with a minus before it for the largest value first. Rows with the
    same value follow one another by id; those without a value, null or NaN, come last. ``columns``
    are those to read, by default all but the embeddings. ``cursor`` is that of the page before, of
    the same sort and filter: each page begins after the last row of the one before, however many
    rows were added or removed in between.

    The first page begins at ``start``. If ``is_before``, the list is that of the rows before it,
    the nearest first. ``mention`` are words that a row's name or caption must have (see
    cliphouse.search.mention).
    """

    k: int = 100
    sort: str = ID
    filter: Filter | None = None
    columns: Sequence[str] | None = None
    cursor: str | None = None
    start: Start | None = None
    is_before: bool = False
    mention: str = ""

    @property
    def order(self) -> str:
        """What a cursor belongs to."""
        return f"before {self.sort}" if self.is_before else self.sort


def list_rows(table: TableHandle, listing: Listing) -> RowPage:
    """The rows of ``listing``.

    Raises QueryError if the table lacks a column, its values have no order, or the cursor belongs
    to another sort.
    """
    if not 1 <= listing.k <= MOST_ROWS:
        raise QueryError(f"a page has 1 to {MOST_ROWS:,} rows, not {listing.k:,}")
    order = _Order.read(listing.sort, table.columns, listing.is_before)
    condition = every(
        listing.filter.condition(table.columns) if listing.filter else None,
        mentions(listing.mention, table.columns),
        _beginning(order, listing),
    )
    where = f"WHERE {condition.sql}\n" if condition else ""
    found = table.connection.rows(
        f"SELECT id, {order.token} AS {_PLACE}\nFROM {table.sql}\n"
        f"{where}ORDER BY {order.sql}\nLIMIT {listing.k + 1}",  # one more says if there are more
        condition.parameters if condition else {},
    )
    shown = found[: listing.k]
    rows = read_rows(table, [row["id"] for row in shown], listing.columns)
    if len(found) == len(shown):
        return RowPage(rows, None)
    value = shown[-1][_PLACE].decode() or None
    return RowPage(rows, _Place(shown[-1]["id"], value, listing.order).to_token())


def has_value(table: TableHandle, column: str) -> bool:
    """Whether any row has a value of ``column``."""
    sql = f"SELECT 1 FROM {table.sql} WHERE isNotNull({backquote(column)}) LIMIT 1"
    return bool(table.connection.rows(sql))


def _beginning(order: _Order, listing: Listing) -> Condition | None:
    """What the rows behind the place meet at which the page begins."""
    if listing.cursor:
        return order.after(_Place.from_token(listing.cursor, listing.order))
    return order.at(listing.start) if listing.start else None


@dataclass(frozen=True)
class _Place:
    """The last row of a page of ``sort``: its id, and the bytes of its value's text in hexadecimal
    digits behind a letter, None if it has no value."""

    id: int
    value: str | None
    sort: str

    def to_token(self) -> str:
        text = json.dumps([self.id, self.value, self.sort])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str, sort: str) -> _Place:
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            row_id, value, of = json.loads(data)
            place = cls(int(row_id), None if value is None else str(value), str(of))
            bytes.fromhex(place.value[1:] if place.value else "")
        except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
            place = None
        if place is None or place.sort != sort or not -(2**63) <= place.id < 2**63:
            raise QueryError(
                "the cursor is none of this list and its sort; leave it out for the first page"
            )
        return place


@dataclass(frozen=True)
class _Order:
    """Rows by ``column`` of the type ``type`` in SQL, and those with the same value by id; or if
    ``is_backward``, just the other way round."""

    column: str
    type: str
    is_falling: bool
    is_backward: bool

    @classmethod
    def read(cls, sort: str, types: Mapping[str, str], is_backward: bool) -> _Order:
        is_falling = sort not in types and sort.startswith("-")
        name = sort[1:] if is_falling else sort
        if name not in types:
            raise QueryError(f"sort: the table has no column {name}; it has {', '.join(types)}")
        kind = ValueType.of(types[name])
        if kind.is_list or kind.base.startswith(_UNORDERED):
            raise QueryError(f"sort: column {name} has lists, which have no order")
        return cls(name, types[name], is_falling, is_backward)

    @property
    def _is_id(self) -> bool:
        return self.column == ID

    @property
    def _value(self) -> str:
        """The value, null if it is NaN."""
        column = backquote(self.column)
        if ValueType.of(self.type).base in ("Float32", "Float64"):
            return f"if(isNaN({column}), NULL, {column})"
        return column

    @property
    def _later(self) -> str:
        """The sign between a later value and an earlier one."""
        return "<" if self.is_falling != self.is_backward else ">"

    @property
    def sql(self) -> str:
        direction = "DESC" if self._later == "<" else "ASC"
        if self._is_id:
            return f"id {direction}"  # the primary key, which is read in its order
        rest = "NULLS FIRST, id DESC" if self.is_backward else "NULLS LAST, id ASC"
        return f"{self._value} {direction} {rest}"

    @property
    def token(self) -> str:
        """The value's place among others, as _Place has it; empty if there is no value."""
        return "''" if self._is_id else f"ifNull(concat('x', hex(toString({self._value}))), '')"

    def after(self, place: _Place) -> Condition:
        """What the rows after ``place`` meet."""
        parameters: dict[str, Any] = {"list_id": place.id}
        if self._is_id:
            return Condition(f"id {self._later} {{list_id:Int64}}", parameters)
        later = f"id {'<' if self.is_backward else '>'} {{list_id:Int64}}"
        if place.value is None:
            either = f"isNotNull({self._value}) OR " if self.is_backward else ""
            both = "" if self.is_backward else f"isNull({self._value}) AND "
            return Condition(f"({either}{both}{later})", parameters)
        parameters["list_value"] = place.value[1:]
        last = "unhex({list_value:String})"
        kind = ValueType.of(self.type)
        if not kind.is_text:
            last = f"CAST({last}, {quote(kind.base)})"
        return Condition(
            self._among_nulls(
                f"{self._value} {self._later} {last} OR ({self._value} = {last} AND {later})"
            ),
            parameters,
        )

    def at(self, start: Start) -> Condition:
        """What the rows behind ``start`` meet."""
        if start.value is None:
            return Condition(f"{'isNotNull' if self.is_backward else 'isNull'}({self._value})")
        kind = ValueType.of(self.type)
        if kind.is_time and not _is_time(start.value):
            raise QueryError(f"start: {start.value!r} is no time, as in 2019-03-31 23:59:59")
        value, parameter = kind.parameter("list_start", start.value, self.column)
        sign = self._later if self.is_backward else f"{self._later}="
        compared = f"{self._value} {sign} {value}"
        sql = compared if self._is_id else self._among_nulls(compared)
        return Condition(sql, {"list_start": parameter})

    def _among_nulls(self, later: str) -> str:
        """Rows without a value are the last, so backward none of them is after one with a value."""
        if self.is_backward:
            return f"ifNull({later}, 0)"
        return f"(isNull({self._value}) OR {later})"


def _is_time(value: object) -> bool:
    """Whether it is a day, or a day and a time, with or without a fraction of a second."""
    try:
        datetime.fromisoformat(str(value).partition(".")[0])
    except ValueError:
        return False
    return True
