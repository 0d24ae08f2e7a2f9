"""Where photographs were taken: rows in a part of the world, clustered by the cells of a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cliphouse.errors import QueryError
from cliphouse.schema.handle import TableHandle
from cliphouse.search.column_filter import ValueType
from cliphouse.search.condition import every
from cliphouse.search.filter import Filter
from cliphouse.search.rows import read_rows

LATITUDE, LONGITUDE = "latitude", "longitude"
MOST_PLACES = 500
_NUMBERS = ("Float32", "Float64")


@dataclass(frozen=True)
class Box:
    """A part of the world, in degrees; north and east are positive. Its edges belong to it."""

    south: float = -90
    west: float = -180
    north: float = 90
    east: float = 180


@dataclass(frozen=True)
class Place:
    """A cluster of ``rows`` rows within ``box``, around its mean ``latitude`` and ``longitude``;
    ``picture`` is one of them, with id, url and caption."""

    latitude: float
    longitude: float
    rows: int
    box: Box
    picture: dict[str, Any]


def one_has_place(table: TableHandle) -> bool:
    """Whether any row of the table has a latitude and a longitude."""
    if not _has_columns(table):
        return False
    known = f"isNotNull({LATITUDE}) AND isNotNull({LONGITUDE})"
    return bool(table.connection.rows(f"SELECT 1 FROM {table.sql} WHERE {known} LIMIT 1"))


def _has_columns(table: TableHandle) -> bool:
    types = (ValueType.of(table.columns.get(name, "")) for name in (LATITUDE, LONGITUDE))
    return all(kind.base in _NUMBERS and not kind.is_list for kind in types)


def list_places(
    table: TableHandle, box: Box, cell: float, filter: Filter | None = None
) -> list[Place]:
    """The MOST_PLACES largest clusters of the rows in ``box`` that meet ``filter``, one for each
    cell of a grid of ``cell`` degrees, the largest first.

    Raises QueryError if the table has no latitude and longitude.
    """
    if not _has_columns(table):
        raise QueryError(f"places: the table has no columns {LATITUDE} and {LONGITUDE} of numbers")
    edges = {"south": box.south, "west": box.west, "north": box.north, "east": box.east}
    condition = every(filter.condition(table.columns) if filter else None)
    where = f"{condition.sql} AND " if condition else ""
    found = table.connection.rows(
        f"SELECT floor({LATITUDE} / {{cell:Float64}}) AS line, "
        f"floor({LONGITUDE} / {{cell:Float64}}) AS place, count() AS rows, min(id) AS first, "
        f"avg({LATITUDE}) AS middle_latitude, avg({LONGITUDE}) AS middle_longitude, "
        f"min({LATITUDE}) AS south, max({LATITUDE}) AS north, "
        f"min({LONGITUDE}) AS west, max({LONGITUDE}) AS east FROM {table.sql} WHERE {where}"
        f"{LATITUDE} BETWEEN {{south:Float64}} AND {{north:Float64}} "
        f"AND {LONGITUDE} BETWEEN {{west:Float64}} AND {{east:Float64}} "
        f"GROUP BY line, place ORDER BY rows DESC, first LIMIT {MOST_PLACES}",
        {"cell": cell, **edges, **(condition.parameters if condition else {})},
    )
    names = [name for name in ("url", "caption") if name in table.columns]
    pictures = {row["id"]: row for row in read_rows(table, [row["first"] for row in found], names)}
    return [_place(row, pictures) for row in found if row["first"] in pictures]


def _place(row: dict[str, Any], pictures: dict[int, dict[str, Any]]) -> Place:
    box = Box(*(float(row[edge]) for edge in ("south", "west", "north", "east")))
    return Place(
        float(row["middle_latitude"]),
        float(row["middle_longitude"]),
        int(row["rows"]),
        box,
        pictures[row["first"]],
    )
