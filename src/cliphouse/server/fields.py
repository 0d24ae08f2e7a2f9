"""Describes the filters, statistics and search modes that the page can offer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from pydantic import BaseModel

from cliphouse.inspection.empty import SITES
from cliphouse.inspection.statistics import StatisticField, statistic_fields
from cliphouse.schema.columns import COLUMNS, Column
from cliphouse.search.filter import filter_fields
from cliphouse.search.methods import AUTO, METHODS
from cliphouse.server.column_models import MAX_CONTAINED, MAX_HOST
from cliphouse.server.own_fields import NamedType, OwnControl, own_controls

ControlKind = Literal["contains", "host", "one_of", "hide", "range"]


class FilterControl(BaseModel):
    """A control for a filter on a column. It sets the filter's ``fields``, by its ``kind``:

    - ``contains`` and ``host`` set a text.
    - ``one_of`` sets a list with the chosen value.
    - ``hide`` sets a list of values to leave out: the first or all of ``unwanted``.
    - ``range`` sets two bounds between ``low`` and ``high``.

    It is ``empty`` if no row has what it asks for.
    """

    kind: ControlKind
    column: str
    label: str
    fields: list[str]
    max_length: int | None = None
    unwanted: list[str] = []
    low: float | None = None
    high: float | None = None
    step: float | None = None
    empty: bool = False


class StatisticAnswer(BaseModel):
    """A list in the answer of /api/stats. ``histogram`` and ``pixels`` have bins; ``values`` and
    ``sites`` have shares."""

    name: str
    kind: Literal["histogram", "pixels", "values", "sites"]
    title: str


class ModeAnswer(BaseModel):
    """A search mode. ``mark`` separates its name from its width; it is empty without a width."""

    name: str
    label: str
    mark: str


class FieldsAnswer(BaseModel):
    """The filters, statistics and modes, in display order. A table may lack some of the columns.
    ``own`` are the filters on columns of the table's own, which have charts of /api/facets too."""

    filters: list[FilterControl]
    own: list[OwnControl]
    statistics: list[StatisticAnswer]
    modes: list[ModeAnswer]


def describe_fields(
    columns: Sequence[Column] = COLUMNS,
    there: Sequence[NamedType] = (),
    empty: Collection[str] = (),
) -> FieldsAnswer:
    """Describe the controls and charts for ``columns``, and for those beyond COLUMNS among
    ``there``, all columns of a table. ``empty`` is what empty_columns says of it."""
    controls = [control for column in columns for control in _controls(column)]
    for control in controls:
        control.empty = (SITES if control.kind == "host" else control.column) in empty
    order = ("contains", "host", "one_of", "hide", "range")
    controls.sort(key=lambda control: order.index(control.kind))
    return FieldsAnswer(
        filters=controls,
        own=own_controls(there, empty),
        statistics=[_statistic(field) for field in statistic_fields(columns)],
        modes=list(_modes()),
    )


def _modes() -> Iterator[ModeAnswer]:
    yield ModeAnswer(name=AUTO, label="by measured recall", mark="")
    for method in METHODS.values():
        mark = method.width.mark if method.width else ""
        yield ModeAnswer(name=method.name, label=method.label, mark=mark)


def _controls(column: Column) -> Iterator[FilterControl]:
    """The controls of a column. One with a ``hide`` control has no ``one_of`` control."""
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
