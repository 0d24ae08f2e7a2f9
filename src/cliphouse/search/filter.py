"""A filter that programs can hand over: plain values in, a condition with parameters out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cliphouse.errors import QueryError
from cliphouse.shards.files import MAX_SHARD
from cliphouse.shards.reader import ID_BITS


@dataclass(frozen=True)
class Condition:
    """A SQL condition and the values of its parameters."""

    sql: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Filter:
    """Which rows may be found; every field given must hold.

    Raises QueryError where a value is of another kind than its field.

    ``min_similarity`` and ``max_similarity`` bound the similarity of a row's own picture and
    caption. ``caption_contains`` ignores case. ``url_host`` is a host with all below it:
    ``example.org`` takes ``img.example.org`` too. ``shards`` are shard numbers. Bounds belong to
    the range.
    """

    min_similarity: float | None = None
    max_similarity: float | None = None
    min_width: int | None = None
    max_width: int | None = None
    min_height: int | None = None
    max_height: int | None = None
    nsfw_in: tuple[str, ...] | None = None
    nsfw_not_in: tuple[str, ...] | None = None
    license_in: tuple[str, ...] | None = None
    caption_contains: str | None = None
    url_host: str | None = None
    shards: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                object.__setattr__(self, field.name, _checked(field.name, value))

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(self))

    def condition(self, columns: Collection[str] | None = None) -> Condition:
        """The filter as SQL for a table with ``columns`` (None for any); parameters are named
        ``filter_FIELD``.

        Raises QueryError where the table lacks a column it needs.
        """
        terms: list[str] = []
        parameters: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.name == "shards":
                terms.append(_in_shards(value))
                continue
            term = _TERMS[field.name]
            if columns is not None and term.column not in columns:
                raise QueryError(f"filter {field.name}: the table has no column {term.column}")
            parameter = f"filter_{field.name}"
            terms.append(term.sql.replace("{}", f"{{{parameter}:{term.type}}}"))
            parameters[parameter] = term.convert(value)
        return Condition(" AND ".join(terms), parameters)


@dataclass(frozen=True)
class _Term:
    """How one field becomes SQL; {} stands for its parameter."""

    column: str
    sql: str
    type: str
    convert: Callable[[Any], Any] = lambda value: value


def _listed(values: Collection[Any]) -> list[Any]:
    return list(values)


def _host(value: str) -> str:
    return value.strip().strip(".").lower()


_INT64 = 2**63
_BOUNDS = ("min_similarity", "max_similarity", "min_width", "max_width", "min_height", "max_height")
_TERMS = {
    "min_similarity": _Term("similarity", "similarity >= {}", "Float32"),
    "max_similarity": _Term("similarity", "similarity <= {}", "Float32"),
    "min_width": _Term("width", "width >= {}", "Int64"),
    "max_width": _Term("width", "width <= {}", "Int64"),
    "min_height": _Term("height", "height >= {}", "Int64"),
    "max_height": _Term("height", "height <= {}", "Int64"),
    "nsfw_in": _Term("NSFW", "has({}, toString(NSFW))", "Array(String)", _listed),
    "nsfw_not_in": _Term("NSFW", "NOT has({}, toString(NSFW))", "Array(String)", _listed),
    "license_in": _Term("license", "has({}, toString(license))", "Array(String)", _listed),
    "caption_contains": _Term("caption", "positionCaseInsensitiveUTF8(caption, {}) > 0", "String"),
    "url_host": _Term(
        "url", "endsWith(concat('.', lower(domain(url))), concat('.', {}))", "String", _host
    ),
}


def _checked(name: str, value: Any) -> Any:
    """The value as its field keeps it."""
    if name in _BOUNDS:
        is_number = isinstance(value, int | float | np.number) and -_INT64 <= value < _INT64
        if is_number and (name.endswith("similarity") or value == int(value)):
            return value if name.endswith("similarity") else int(value)
        raise QueryError(f"filter {name}: {value!r} is no number that such a column could hold")
    if name in ("caption_contains", "url_host"):
        if isinstance(value, str):
            return value
        raise QueryError(f"filter {name}: {value!r} is no text")
    wanted = "shard numbers" if name == "shards" else "texts"
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise QueryError(f"filter {name}: {value!r} is no list of {wanted}")
    values = tuple(value)
    for one in values:
        is_shard = isinstance(one, int | np.integer) and 0 <= one < MAX_SHARD
        if not (is_shard if name == "shards" else isinstance(one, str)):
            raise QueryError(f"filter {name}: {one!r} is none of {wanted}")
    return values


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
