"""What the page's forms and charts offer: filters, statistics and search modes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel

from cliphouse.inspection.statistics import StatisticField, statistic_fields
from cliphouse.schema.columns import COLUMNS, Column
from cliphouse.search.filter import filter_fields
from cliphouse.search.methods import AUTO, METHODS
from cliphouse.server.column_models import MAX_CONTAINED, MAX_HOST

ControlKind = Literal["contains", "host", "one_of", "hide", "range"]


class FilterControl(BaseModel):
    """A control for filters on a column. ``fields`` are those of a filter that it sets: the text of
    a control ``contains`` or ``host``; a list with the chosen value of ``one_of``; a list of values
    to be left out by ``hide``, the first or all of ``unwanted``; the two bounds of a ``range``,
    from ``low`` to ``high``."""

    kind: ControlKind
    column: str
    label: str
    fields: list[str]
    max_length: int | None = None
    unwanted: list[str] = []
    low: float | None = None
    high: float | None = None
    step: float | None = None


class StatisticAnswer(BaseModel):
    """A list of /api/stats: ``histogram`` and ``pixels`` have bins, ``values`` and ``sites``
    shares."""

    name: str
    kind: Literal["histogram", "pixels", "values", "sites"]
    title: str


class ModeAnswer(BaseModel):
    """A search mode; ``mark`` stands between its name and its width, empty if it has none."""

    name: str
    label: str
    mark: str


class FieldsAnswer(BaseModel):
    """What forms and charts offer, in the order in which they show it; a table may lack columns."""

    filters: list[FilterControl]
    statistics: list[StatisticAnswer]
    modes: list[ModeAnswer]


def describe_fields(columns: Sequence[Column] = COLUMNS) -> FieldsAnswer:
    """What a page offers for ``columns``."""
    controls = [control for column in columns for control in _controls(column)]
    order = ("contains", "host", "one_of", "hide", "range")
    controls.sort(key=lambda control: order.index(control.kind))
    return FieldsAnswer(
        filters=controls,
        statistics=[_statistic(field) for field in statistic_fields(columns)],
        modes=list(_modes()),
    )


def _modes() -> Iterator[ModeAnswer]:
    yield ModeAnswer(name=AUTO, label="by measured recall", mark="")
    for method in METHODS.values():
        mark = method.width.mark if method.width else ""
        yield ModeAnswer(name=method.name, label=method.label, mark=mark)


def _controls(column: Column) -> Iterator[FilterControl]:
    """A column whose values are hidden by default has no other choice of them."""
    fields = {field.kind: field.name for field in filter_fields([column]).values()}
    name, label = column.name, column.label or column.name
    if "contains" in fields:
        yield FilterControl(
            kind="contains",
            column=name,
            label=f"{label} contains",
            fields=[fields["contains"]],
            max_length=MAX_CONTAINED,
        )
    if "host" in fields:
        yield FilterControl(
            kind="host", column=name, label="Site", fields=[fields["host"]], max_length=MAX_HOST
        )
    if column.unwanted and "not_in" in fields:
        yield FilterControl(
            kind="hide",
            column=name,
            label=label,
            fields=[fields["not_in"]],
            unwanted=list(column.unwanted),
        )
    elif column.statistic == "values" and "in" in fields:
        yield FilterControl(kind="one_of", column=name, label=label, fields=[fields["in"]])
    if "min" in fields and "max" in fields and column.scale:
        scale = column.scale
        yield FilterControl(
            kind="range",
            column=name,
            label=f"{label} in {scale.unit}" if scale.unit else label,
            fields=[fields["min"], fields["max"]],
            low=scale.low,
            high=scale.high,
            step=scale.step,
        )


def _statistic(field: StatisticField) -> StatisticAnswer:
    label = field.column.label or field.column.name
    title = "Top sites" if field.kind == "sites" else label
    return StatisticAnswer(name=field.name, kind=field.kind, title=title)
