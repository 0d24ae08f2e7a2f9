"""Conditions on any column of a table, by its type: bounds, values, a part of a text.

A filter in Python, REST and the page names a column with what it must meet:
``{"aesthetic": {"min": 6}, "language": ["en", "de"], "taken": {"min": "2020-01-01"}}``. A row whose
value is null meets none of them, but a list of values that has null.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from cliphouse.engine.quoting import backquote
from cliphouse.errors import QueryError
from cliphouse.search.condition import Condition

_KEYS = ("min", "max", "in", "not_in", "contains", "under")
Plain = str | int | float | bool | Decimal | date | datetime | None


@dataclass(frozen=True)
class ColumnFilter:
    """What the values of a column must meet: bounds, which belong to the range, values of which a
    row must have one, or none, a part of the text, in any case, and a folder ``under`` which a path
    is, or the folder itself.

    Of a list, ``is_in`` wants some item to be among the values, ``contains`` some item with that
    part.
    """

    column: str
    least: Plain = None
    most: Plain = None
    is_in: tuple[Plain, ...] | None = None
    not_in: tuple[Plain, ...] | None = None
    contains: str | None = None
    under: str | None = None

    @classmethod
    def of(cls, column: str, given: Any) -> ColumnFilter:
        """Read what a filter says of a column: a list of values, or a mapping with some of min,
        max, in, not_in, contains and under. Raises QueryError if it says something else."""
        if isinstance(given, Mapping):
            for key in given:
                if key not in _KEYS:
                    raise QueryError(
                        f"filter {column}: there is no {key!r}; there are {', '.join(_KEYS)}"
                    )
            contains, under = (_text(column, key, given.get(key)) for key in ("contains", "under"))
            is_in, not_in = (
                None if given.get(key) is None else _values(column, given[key])
                for key in ("in", "not_in")
            )
            least, most = (_bound(column, key, given.get(key)) for key in ("min", "max"))
            return cls(column, least, most, is_in, not_in, contains, under)
        return cls(column, is_in=_values(column, given))

    def to_plain(self) -> Any:
        """What ``of`` reads again, of values that JSON has."""
        said: dict[str, Any] = {
            "min": _shown(self.least),
            "max": _shown(self.most),
            "in": None if self.is_in is None else list(map(_shown, self.is_in)),
            "not_in": None if self.not_in is None else list(map(_shown, self.not_in)),
            "contains": self.contains,
            "under": self.under,
        }
        given = {key: value for key, value in said.items() if value is not None}
        return given["in"] if given.keys() == {"in"} else given

    def condition(self, types: Mapping[str, str]) -> Condition:
        """The filter as SQL for a table with columns of these ``types``; its parameters are named
        after the column.

        Raises QueryError if the table lacks the column, or its type cannot be compared so.
        """
        if self.column not in types:
            raise QueryError(
                f"filter {self.column}: the table has no such column; it has {', '.join(types)}"
            )
        return _Terms(self, ValueType.of(types[self.column])).condition()


@dataclass(frozen=True)
class ValueType:
    """The type of a column's values, without what it is wrapped in."""

    base: str
    is_list: bool

    @classmethod
    def of(cls, sql: str) -> ValueType:
        base, is_list = sql, False
        while match := re.fullmatch(r"(Array|Nullable|LowCardinality)\((.*)\)", base):
            is_list, base = is_list or match[1] == "Array", match[2]
        return cls(base, is_list)

    @property
    def is_text(self) -> bool:
        return self.base == "String" or self.base.startswith("FixedString")

    @property
    def is_time(self) -> bool:
        return self.base.startswith("Date")

    def parameter(self, name: str, value: Plain, column: str) -> tuple[str, Any]:
        """The SQL of a value of the type, and the parameter ``name`` that it has."""
        if self.is_time:
            if not re.search(r"\d", str(value)):
                raise QueryError(
                    f"filter {column}: {value!r} is no time, as in 2019-03-31 23:59:59"
                )
            return self._time(name), _shown(value)
        if self.is_text:
            return f"{{{name}:String}}", str(value)
        if not isinstance(value, (bool, int, float, Decimal)):
            raise QueryError(f"filter {column}: {value!r} is no number, as the column's values are")
        if self.base == "Bool":
            return f"{{{name}:Bool}}", bool(value)
        if self.base.startswith("Decimal"):
            return f"toDecimal256({{{name}:String}}, 20)", str(value)
        kind = "Int64" if isinstance(value, int) and -(2**63) <= value < 2**63 else "Float64"
        return f"{{{name}:{kind}}}", value

    def _time(self, name: str) -> str:
        if self.base in ("Date", "Date32"):
            return f"toDate32({{{name}:String}})"
        return f"parseDateTime64BestEffort({{{name}:String}}, 9, 'UTC')"


class _Terms:
    """The terms of a filter on a column, and their parameters."""

    def __init__(self, asked: ColumnFilter, kind: ValueType) -> None:
        self._asked = asked
        self._kind = kind
        self._column = backquote(asked.column)
        self._parameters: dict[str, Any] = {}

    def condition(self) -> Condition:
        asked = self._asked
        terms = []
        for sign, bound in ((">=", asked.least), ("<=", asked.most)):
            if bound is not None:
                if self._kind.is_list:
                    raise QueryError(f"filter {asked.column}: a list has no bounds")
                terms.append(f"ifNull({self._column} {sign} {self._value(bound)}, 0)")
        if asked.is_in is not None:
            terms.append(self._among(asked.is_in))
        if asked.not_in is not None:
            terms.append(f"NOT {self._among(asked.not_in)}")
        if asked.contains is not None:
            terms.append(self._contains(asked.contains))
        if asked.under:  # everything is under the top, which has no name
            terms.append(self._under(asked.under.rstrip("/")))
        return Condition(" AND ".join(terms) or "1", self._parameters)

    def _value(self, value: Plain) -> str:
        name = f"filter_{re.sub('[^A-Za-z0-9_]', '_', self._asked.column)}_{len(self._parameters)}"
        sql, parameter = self._kind.parameter(name, value, self._asked.column)
        self._parameters[name] = parameter
        return sql

    def _among(self, values: Iterable[Plain]) -> str:
        """Whether the value, or some item of a list, is one of ``values``."""
        listed = [self._value(value) for value in values if value is not None]
        if self._kind.is_list:
            return f"hasAny({self._column}, [{', '.join(listed)}])" if listed else "0"
        terms = [f"ifNull({self._column} IN ({', '.join(listed)}), 0)"] if listed else []
        terms += [f"isNull({self._column})"] if None in values else []
        return f"({' OR '.join(terms)})" if terms else "0"

    def _contains(self, part: str) -> str:
        if not self._kind.is_text:
            raise QueryError(f"filter {self._asked.column}: contains needs a column of text")
        found = f", {self._value(part)}) > 0, 0)"
        if self._kind.is_list:
            return (
                f"arrayExists(one -> ifNull(positionCaseInsensitiveUTF8(one{found}, {self._column})"
            )
        return f"ifNull(positionCaseInsensitiveUTF8({self._column}{found}"

    def _under(self, folder: str) -> str:
        if not self._kind.is_text or self._kind.is_list:
            raise QueryError(f"filter {self._asked.column}: under needs a column of paths")
        own, below = self._value(folder), self._value(f"{folder}/")
        return f"ifNull({self._column} = {own} OR startsWith({self._column}, {below}), 0)"


def _values(column: str, given: Any) -> tuple[Plain, ...]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise QueryError(
            f"filter {column}: {given!r} is no list of values and has none of {', '.join(_KEYS)}"
        )
    values = tuple(given)
    for value in values:
        if not isinstance(value, Plain):
            raise QueryError(f"filter {column}: {value!r} is no value that a column could have")
    return values


def _text(column: str, key: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise QueryError(f"filter {column}: {key} {value!r}, which is no text")


def _bound(column: str, key: str, value: Any) -> Plain:
    if isinstance(value, Plain) and not isinstance(value, bool):
        return value
    raise QueryError(f"filter {column}: {key} is {value!r}, which is no bound")


def _shown(value: Plain) -> Any:
    """A value as JSON has it."""
    if isinstance(value, date):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
