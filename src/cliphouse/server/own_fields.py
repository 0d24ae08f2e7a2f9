"""Describes the filters and charts that the page can offer for the columns of a table's own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Literal, Protocol

from pydantic import BaseModel

from cliphouse.inspection.facets import EMBEDDING, NUMBER
from cliphouse.schema.columns import COLUMNS
from cliphouse.search.column_filter import ValueType
from cliphouse.server.column_models import MAX_CONTAINED

OwnKind = Literal[
    "own_folder",
    "own_contains",
    "own_values",
    "own_flag",
    "own_numbers",
    "own_days",
    "own_times",
]
_FOLDER = "folder"  # the column that `sync` and `embed` keep
# What `sync` and `embed` compare files by, which tells nobody anything.
_OF_FILES = frozenset(("file_mtime_ns", "file_hash"))
# What the page calls the columns that `sync` and `embed` keep.
_LABELS = {
    "taken": "Date taken",
    "folder": "Folder",
    "file_name": "File name",
    "file_bytes": "File size in bytes",
    "frame_time": "Seconds into the video",
    "video_seconds": "Length of the video in seconds",
} | {
    name: name.capitalize()
    for name in ("camera", "description", "keywords", "latitude", "longitude", "title")
}
_ENDS: dict[OwnKind, tuple[str, ...]] = {
    "own_folder": ("under",),
    "own_contains": ("contains",),
    "own_values": ("is",),
    "own_flag": ("is",),
}
# More controls than this fill several screens. Programs may filter by every column.
MOST_OWN = 40


class NamedType(Protocol):
    """A column of a table: its name and its type in SQL."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...


class OwnControl(BaseModel):
    """A control for a filter on a column of a table's own. ``fields`` are the names of its inputs.
    It sets the filter that is named like the column, by its ``kind``:

    - ``own_folder`` sets ``under``, one of the folders that /api/groups counts.
    - ``own_contains`` sets ``contains``, a text of at most ``max_length`` characters.
    - ``own_values`` sets a list with the chosen value, one of those that /api/facets counts.
    - ``own_flag`` sets a list with true or false.
    - ``own_numbers``, ``own_days`` and ``own_times`` set ``min`` and ``max``: numbers, days, and
      times in UTC.

    It is ``empty`` if no row has a value.
    """

    kind: OwnKind
    column: str
    label: str
    fields: list[str]
    max_length: int | None = None
    empty: bool = False


def own_controls(columns: Sequence[NamedType], empty: Collection[str] = ()) -> list[OwnControl]:
    """The controls for the first MOST_OWN columns that a page can filter by, in their order."""
    controls = (_control(column, column.name in empty) for column in columns)
    return list(islice((control for control in controls if control is not None), MOST_OWN))


def _control(column: NamedType, is_empty: bool) -> OwnControl | None:
    if column.name in _KNOWN | _OF_FILES or EMBEDDING.fullmatch(column.type):
        return None
    kind = _kind(column.type)
    is_path = ValueType.of(column.type).is_text and not ValueType.of(column.type).is_list
    if column.name == _FOLDER and is_path:
        kind = "own_folder"
    if kind is None:
        return None
    label = _LABELS.get(column.name, column.name)
    return OwnControl(
        kind=kind,
        column=column.name,
        label=f"{label} contains" if kind == "own_contains" else label,
        # Names in the address of the page, which has others: no column may be taken for them.
        fields=[f"{column.name}.{end}" for end in _ENDS.get(kind, ("min", "max"))],
        max_length=MAX_CONTAINED if kind == "own_contains" else None,
        empty=is_empty,
    )


def _kind(sql: str) -> OwnKind | None:
    """How a column of this type is filtered; None if only programs can."""
    type_ = ValueType.of(sql)
    if type_.is_text and (type_.is_list or "LowCardinality" in sql):
        return "own_values"
    if type_.is_list:
        return None
    if type_.base == "Bool":
        return "own_flag"
    if type_.is_text:
        return "own_contains"
    if type_.is_time:
        return "own_days" if type_.base in ("Date", "Date32") else "own_times"
    return "own_numbers" if NUMBER.fullmatch(type_.base) else None


_KNOWN = frozenset(column.name for column in COLUMNS)
