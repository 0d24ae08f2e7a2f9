"""REST models that are made from the table's columns: filters, hits, clip-retrieval's results and
statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from cliphouse.inspection.statistics import Bins, Example, Shares, statistic_fields
from cliphouse.schema.columns import COLUMNS, Column, FilterKind, Scalar
from cliphouse.search.filter import FilterField, filter_fields
from cliphouse.search.hits import HitField, hit_fields
from cliphouse.server.strict import Strict

MAX_CONTAINED = 500  # characters of the text in a filter
MAX_HOST = 253
_LONGEST_PATH = 4096
_Texts = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=100)]
_Shards = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=10_000)]
_VALUES: dict[FilterKind, Any] = {
    "shards": _Shards,
    "host": Annotated[str, Field(max_length=MAX_HOST)],
    "contains": Annotated[str, Field(max_length=MAX_CONTAINED)],
    "in": _Texts,
    "not_in": _Texts,
}
RESULT_WORDS = ("id", "similarity", "image")
_FILTER = """
Conditions on the rows to find. A row must meet all of them. Ranges include their bounds. Any other
name is that of a column of the table, with a list of values or with some of ``min``, ``max``,
``in``, ``not_in``, ``contains`` and ``under``.
"""
_HIT = """
A row that was found. ``score`` is the cosine similarity to the query. ``distance`` is the distance
to the query in the chosen metric. ``similarity`` is the similarity of the row's own picture and
caption. ``folded`` counts the near-duplicates that this row replaces. ``missing`` says of a picture
in a folder that the table follows if its file is not there now; others lack it. If a search names
``fields``, its hits have no other columns of the table. Columns that only this table has follow by
name.
"""
_RESULT = """
A row that was found. Only the first ``num_images`` rows have more than ``id`` and ``similarity``,
and only the columns that the table has. ``image`` is a JPEG in base64, if the picture is a local
file.
"""
_STATISTICS = """
Statistics of the rows. They count ``counted`` of ``rows``: all rows up to 4,000,000, else a sample
of blocks from the whole table. A list is empty if the table lacks its column. ``width`` and
``height`` end with a bin for everything above 2,048 pixels. Lists of values have at most 20
entries, the most frequent first.
"""


_Scalar = Annotated[str, Field(max_length=500)] | bool | int | float | None
_Scalars = Annotated[list[_Scalar], Field(max_length=100)]


class ColumnFilterBody(Strict):
    """What the values of a column must meet. Bounds belong to the range. A row must have one of the
    values ``in``, none of ``not_in``, and the text ``contains`` in any case. ``under`` is a folder:
    the value must be its path or one below it."""

    min: Annotated[str, Field(max_length=100)] | int | float | None = None
    max: Annotated[str, Field(max_length=100)] | int | float | None = None
    in_: _Scalars | None = Field(None, alias="in")
    not_in: _Scalars | None = None
    contains: Annotated[str, Field(max_length=MAX_CONTAINED)] | None = None
    under: Annotated[str, Field(max_length=_LONGEST_PATH)] | None = None


class _ColumnFilters(Strict):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ColumnFilterBody | _Scalars]


def filter_model(columns: Sequence[Column] = COLUMNS) -> type[Strict]:
    """Make the model of a Filter on ``columns``."""
    fields: dict[str, Any] = {
        field.name: (_value(field) | None, None) for field in filter_fields(columns).values()
    }
    return create_model("FilterBody", __base__=_ColumnFilters, __doc__=_FILTER, **fields)


def hit_model(columns: Sequence[Column] = COLUMNS) -> type[BaseModel]:
    """Make the model of Hit.to_dict for ``columns``. A NaN is null, because JSON has none."""
    fields: dict[str, Any] = {
        "id": (int, ...),
        "score": (float | None, ...),
        "distance": (float | None, ...),
        **{field.name: (_shown(field.type), Field(None)) for field in hit_fields(columns)},
        "folded": (int, ...),
        "missing": (bool, Field(None)),
    }
    return create_model("HitAnswer", __doc__=_HIT, __config__=ConfigDict(extra="allow"), **fields)


def result_fields(columns: Sequence[Column] = COLUMNS) -> tuple[HitField, ...]:
    """The columns in a result of clip-retrieval, without those named like its own fields."""
    return tuple(field for field in hit_fields(columns) if field.name not in RESULT_WORDS)


def result_model(columns: Sequence[Column] = COLUMNS) -> type[BaseModel]:
    """Make the model of a result of clip-retrieval for ``columns``."""
    fields: dict[str, Any] = {
        "id": (int, ...),
        "similarity": (float, ...),
        **{field.name: (_shown(field.type) | None, None) for field in result_fields(columns)},
        "image": (str | None, None),
    }
    return create_model(
        "ResultAnswer", __doc__=_RESULT, __config__=ConfigDict(extra="allow"), **fields
    )


def statistics_model(columns: Sequence[Column] = COLUMNS) -> type[BaseModel]:
    """Make the model of TableStatistics.to_dict for ``columns``."""
    fields: dict[str, Any] = {
        "rows": (int, ...),
        "counted": (int, ...),
        **{f.name: (Bins if f.has_bins else Shares, ...) for f in statistic_fields(columns)},
        "examples": (tuple[Example, ...], ...),
    }
    return create_model("TableStatistics", __doc__=_STATISTICS, **fields)


def _value(field: FilterField) -> Any:
    """The type of the field's value, with its limits."""
    if field.kind in _VALUES:
        return _VALUES[field.kind]
    assert isinstance(field.column.type, Scalar)
    if field.is_whole:
        return Annotated[int, Field(ge=field.column.type.low, lt=field.column.type.high)]
    return Annotated[float, Field(allow_inf_nan=False)]


def _shown(type_: Scalar) -> Any:
    return float | None if type_.python is float else type_.python


if TYPE_CHECKING:  # a name in an annotation must be a class, and a made model is a value
    FilterBody = Strict
    HitAnswer = BaseModel
    ResultAnswer = BaseModel
    StatisticsAnswer = BaseModel
else:
    FilterBody = filter_model()
    HitAnswer = hit_model()
    ResultAnswer = result_model()
    StatisticsAnswer = statistics_model()
