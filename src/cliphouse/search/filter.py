"""A filter that programs can hand over: plain values in, a condition with parameters out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from cliphouse.errors import QueryError
from cliphouse.schema.caption_index import CAPTION_EXPRESSION, indexed_pattern, word_pattern
from cliphouse.schema.columns import COLUMNS, Column, FilterKind, Scalar
from cliphouse.search.column_filter import ColumnFilter
from cliphouse.search.condition import Condition
from cliphouse.shards.numbering import ID_BITS, MAX_SHARD

FilterValue = float | int | str | tuple[str, ...] | tuple[int, ...]
_INT64 = 2**63


@dataclass(frozen=True)
class FilterField:
    """A field of Filter: a kind of condition on a column."""

    name: str
    kind: FilterKind
    column: Column

    @property
    def is_whole(self) -> bool:
        """Whether the column holds whole numbers."""
        return isinstance(self.column.type, Scalar) and self.column.type.python is int


def filter_fields(columns: Sequence[Column] = COLUMNS) -> dict[str, FilterField]:
    """The fields that a Filter on ``columns`` can have, by their names."""
    fields = {}
    for column in columns:
        for kind in column.filters:
            name = _KINDS[kind].name.format(column.name.lower())
            fields[name] = FilterField(name, kind, column)
    return fields


@dataclass(frozen=True, init=False, repr=False)
class Filter:
    """Which rows may be found; every field given must hold, and one that is None says nothing.

    ``min_similarity`` and ``max_similarity`` bound the similarity of a row's own picture and
    caption; ``min_width``, ``max_width``, ``min_height`` and ``max_height`` its size in pixels.
    Bounds belong to the range. ``nsfw_in``, ``nsfw_not_in`` and ``license_in`` list values.
    ``caption_contains`` ignores case. ``url_host`` is a host with all below it: ``example.org``
    takes ``img.example.org`` too. ``shards`` are shard numbers. The fields follow from the
    columns, see cliphouse.schema.columns.

    Any other name is that of a column of the table, with what its values must meet: a list of
    values, or a mapping with some of min, max, in, not_in, contains and
    under (see ColumnFilter).

    >>> Filter(min_similarity=0.3, nsfw_in=["UNLIKELY"]).nsfw_in
    ('UNLIKELY',)
    >>> Filter(aesthetic={"min": 6}, language=["en", "de"]).to_dict()
    {'aesthetic': {'min': 6}, 'language': ['en', 'de']}

    ``given`` are the fields that say something, with their values, and ``columns`` what is said of
    other columns.
    """

    given: tuple[tuple[FilterField, FilterValue], ...]
    columns: tuple[ColumnFilter, ...]
    _names: frozenset[str] = field(compare=False)

    def __init__(self, columns: Sequence[Column] = COLUMNS, /, **values: Any) -> None:
        """Raises QueryError if there is no such field, or a value is of another kind than its
        field."""
        fields = filter_fields(columns)
        others = {name: value for name, value in values.items() if name not in fields}
        for name, value in others.items():
            if not isinstance(value, (Mapping, list, tuple)):
                there = ", ".join(fields)
                raise QueryError(
                    f"filter {name}: there is no such field; there are {there}, and any column "
                    'with a list of values or with bounds, as in {"min": 6}'
                )
        given = [
            (field, _KINDS[field.kind].check(field, values[name]))
            for name, field in fields.items()
            if values.get(name) is not None
        ]
        object.__setattr__(self, "given", tuple(given))
        found = tuple(ColumnFilter.of(name, value) for name, value in others.items())
        object.__setattr__(self, "columns", found)
        object.__setattr__(self, "_names", frozenset(fields))

    def __bool__(self) -> bool:
        return bool(self.given or self.columns)

    def __repr__(self) -> str:
        return f"Filter({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    def __getattr__(self, name: str) -> FilterValue | None:
        if name in self.__dict__.get("_names", ()):
            return self.to_dict().get(name)
        raise AttributeError(f"a filter has no field {name}")

    def to_dict(self) -> dict[str, Any]:
        """The values by their fields' names, and what is said of other columns by theirs."""
        given: dict[str, Any] = {field.name: value for field, value in self.given}
        return given | {each.column: each.to_plain() for each in self.columns}

    def condition(
        self, columns: Mapping[str, str] | None = None, has_text_index: bool = True
    ) -> Condition:
        """The filter as SQL for a table with ``columns``, given with their types (None for any
        table, if only fields are given); parameters are named ``filter_FIELD``. ``has_text_index``
        says whether the engine knows indexes of words.

        Raises QueryError if the table lacks a column it needs.
        """
        terms = []
        for asked, value in self.given:
            column = asked.column.name
            if columns is not None and column not in columns:
                raise QueryError(f"filter {asked.name}: the table has no column {column}")
            terms.append(_condition(asked, value, has_text_index))
        terms += [each.condition(columns or {}) for each in self.columns]
        parameters = {name: value for term in terms for name, value in term.parameters.items()}
        return Condition(" AND ".join(term.sql for term in terms), parameters)


@dataclass(frozen=True)
class _Kind:
    """A kind of condition.

    ``name`` is that of its field, with {} for the column's. ``check`` returns a value as the field
    keeps it. ``sql`` has {column} and {value}, a parameter of ``type`` (None for the column's
    numbers) that holds what ``convert`` makes of the value.
    """

    name: str
    check: Callable[[FilterField, Any], FilterValue]
    sql: str
    type: str | None = None
    convert: Callable[[Any], Any] = lambda value: value


def _condition(field: FilterField, value: Any, has_text_index: bool) -> Condition:
    if field.kind == "shards":
        return Condition(_in_shards(value), {})
    if field.kind == "contains":
        return _contains(field, value, has_text_index)
    kind, parameter = _KINDS[field.kind], f"filter_{field.name}"
    type_ = kind.type or ("Int64" if field.is_whole else "Float32")
    sql = kind.sql.format(column=field.column.name, value=f"{{{parameter}:{type_}}}")
    return Condition(sql, {parameter: kind.convert(value)})


def _contains(field: FilterField, part: str, has_text_index: bool) -> Condition:
    """A condition that an index of captions knows, if ``part`` is long enough for one."""
    name, column = f"filter_{field.name}", field.column.name
    word = word_pattern(part) if column == "caption" and has_text_index else None
    if word is not None:
        return Condition(f"{column} ILIKE {{{name}:String}}", {name: word})
    # The other term below says nothing new, and is evaluated for rows that meet this one alone.
    sql = f"positionCaseInsensitiveUTF8({column}, {{{name}:String}}) > 0"
    pattern = indexed_pattern(part)
    if column != "caption" or pattern is None:
        return Condition(sql, {name: part})
    sql += f" AND {CAPTION_EXPRESSION} LIKE lowerUTF8({{{name}_pattern:String}})"
    return Condition(sql, {name: part, f"{name}_pattern": pattern})


def _number(field: FilterField, value: Any) -> FilterValue:
    is_number = isinstance(value, Real)
    is_held = is_number and -_INT64 <= value < _INT64
    if is_held and not field.is_whole:
        return float(value)
    if is_held and value == int(value):
        return int(value)
    raise QueryError(f"filter {field.name}: {value!r} is no number that such a column could hold")


def _text(field: FilterField, value: Any) -> FilterValue:
    if isinstance(value, str):
        return value
    raise QueryError(f"filter {field.name}: {value!r} is no text")


def _texts(field: FilterField, value: Any) -> FilterValue:
    return _listed(field, value, "texts", lambda one: isinstance(one, str))


def _shards(field: FilterField, value: Any) -> FilterValue:
    def is_shard(one: Any) -> bool:
        return isinstance(one, Integral) and 0 <= int(one) < MAX_SHARD

    return tuple(map(int, _listed(field, value, "shard numbers", is_shard)))


def _listed(
    field: FilterField, value: Any, wanted: str, is_right: Callable[[Any], bool]
) -> tuple[Any, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise QueryError(f"filter {field.name}: {value!r} is no list of {wanted}")
    values = tuple(value)
    for one in values:
        if not is_right(one):
            raise QueryError(f"filter {field.name}: {one!r} is none of {wanted}")
    return values


def _host(value: str) -> str:
    return value.strip().strip(".").lower()


_KINDS: dict[FilterKind, _Kind] = {
    "shards": _Kind("shards", _shards, ""),
    "host": _Kind(
        "{}_host",
        _text,
        "endsWith(concat('.', lower(domain({column}))), concat('.', {value}))",
        "String",
        _host,
    ),
    "contains": _Kind("{}_contains", _text, ""),
    "in": _Kind("{}_in", _texts, "has({value}, toString({column}))", "Array(String)", list),
    "not_in": _Kind(
        "{}_not_in", _texts, "NOT has({value}, toString({column}))", "Array(String)", list
    ),
    "min": _Kind("min_{}", _number, "{column} >= {value}"),
    "max": _Kind("max_{}", _number, "{column} <= {value}"),
}


def _in_shards(shards: Collection[int]) -> str:
    """Ranges of the primary key, so that the rows of other shards are not even read."""
    if not shards:
        return "0"
    ranges: list[list[int]] = []
    for shard in sorted({int(shard) for shard in shards}):
        if ranges and ranges[-1][1] == shard:
            ranges[-1][1] = shard + 1
        else:
            ranges.append([shard, shard + 1])
    return (
        "(" + " OR ".join(f"id >= {a << ID_BITS} AND id < {b << ID_BITS}" for a, b in ranges) + ")"
    )
