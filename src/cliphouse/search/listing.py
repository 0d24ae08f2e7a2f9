"""All rows of a table in the order of a column, page by page, without a query."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cliphouse.engine.quoting import backquote, quote
from cliphouse.errors import QueryError
from cliphouse.schema.handle import TableHandle
from cliphouse.search.column_filter import ValueType
from cliphouse.search.condition import Condition, every
from cliphouse.search.filter import Filter
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
class Listing:
    """Which rows to list: the next ``k`` that meet ``filter``, in the order of a column.

    ``sort`` is the column's name, with a minus before it for the largest value first. Rows with the
    same value follow one another by id; those without a value, null or NaN, come last. ``columns``
    are those to read, by default all but the embeddings. ``cursor`` is that of the page before, of
    the same sort and filter: each page begins after the last row of the one before, however many
    rows were added or removed in between.
    """

    k: int = 100
    sort: str = ID
    filter: Filter | None = None
    columns: Sequence[str] | None = None
    cursor: str | None = None


def list_rows(table: TableHandle, listing: Listing) -> RowPage:
    """The rows of ``listing``.

    Raises QueryError if the table lacks a column, its values have no order, or the cursor belongs
    to another sort.
    """
    if not 1 <= listing.k <= MOST_ROWS:
        raise QueryError(f"a page has 1 to {MOST_ROWS:,} rows, not {listing.k:,}")
    order = _Order.read(listing.sort, table.columns)
    condition = every(
        listing.filter.condition(table.columns) if listing.filter else None,
        order.after(_Place.from_token(listing.cursor, listing.sort)) if listing.cursor else None,
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
    return RowPage(rows, _Place(shown[-1]["id"], value, listing.sort).to_token())


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
    """Rows by ``column`` of the type ``type`` in SQL, and those with the same value by id."""

    column: str
    type: str
    is_falling: bool

    @classmethod
    def read(cls, sort: str, types: Mapping[str, str]) -> _Order:
        is_falling = sort not in types and sort.startswith("-")
        name = sort[1:] if is_falling else sort
        if name not in types:
            raise QueryError(f"sort: the table has no column {name}; it has {', '.join(types)}")
        kind = ValueType.of(types[name])
        if kind.is_list or kind.base.startswith(_UNORDERED):
            raise QueryError(f"sort: column {name} has lists, which have no order")
        return cls(name, types[name], is_falling)

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
    def sql(self) -> str:
        direction = "DESC" if self.is_falling else "ASC"
        if self._is_id:
            return f"id {direction}"  # the primary key, which is read in its order
        return f"{self._value} {direction} NULLS LAST, id ASC"

    @property
    def token(self) -> str:
        """The value's place among others, as _Place has it; empty if there is no value."""
        return "''" if self._is_id else f"ifNull(concat('x', hex(toString({self._value}))), '')"

    def after(self, place: _Place) -> Condition:
        """What the rows after ``place`` meet."""
        parameters: dict[str, Any] = {"list_id": place.id}
        if self._is_id:
            return Condition(f"id {'<' if self.is_falling else '>'} {{list_id:Int64}}", parameters)
        later = "id > {list_id:Int64}"
        if place.value is None:
            return Condition(f"isNull({self._value}) AND {later}", parameters)
        parameters["list_value"] = place.value[1:]
        last = "unhex({list_value:String})"
        kind = ValueType.of(self.type)
        if not kind.is_text:
            last = f"CAST({last}, {quote(kind.base)})"
        sign = "<" if self.is_falling else ">"
        return Condition(
            f"(isNull({self._value}) OR {self._value} {sign} {last}"
            f" OR ({self._value} = {last} AND {later}))",
            parameters,
        )
