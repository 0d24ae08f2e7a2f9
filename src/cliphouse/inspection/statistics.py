"""Statistics of a table's rows, counted by the engine: histograms and frequent values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cliphouse.engine.arrays import plain_value
from cliphouse.schema.columns import COLUMNS, Column, StatisticKind
from cliphouse.schema.handle import TableHandle
from cliphouse.shards.roots import local_urls

SAMPLE_ROWS = 4_000_000
_BLOCK = 8192  # neighbouring rows sampled together, so that most granules need not be read
_STEPS = 40
_PIXEL_STEP = 64
_PIXEL_STEPS = 32
_MOST_VALUES = 20
_EXAMPLES = 12


@dataclass(frozen=True)
class Bin:
    """How many rows have a value from ``low`` up to, but not including, ``high``."""

    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Share:
    """How many rows have this value."""

    value: str
    rows: int


@dataclass(frozen=True)
class Example:
    """A row that the page offers as a first query."""

    id: int
    url: str
    caption: str
    width: int
    height: int


Bins = tuple[Bin, ...]
Shares = tuple[Share, ...]


@dataclass(frozen=True)
class StatisticField:
    """A statistic of a column, under its name in TableStatistics."""

    name: str
    kind: StatisticKind
    column: Column

    @property
    def has_bins(self) -> bool:
        """Whether it is Bins rather than Shares."""
        return self.kind in ("histogram", "pixels")


def statistic_fields(columns: Sequence[Column] = COLUMNS) -> tuple[StatisticField, ...]:
    """The statistics of ``columns``: histograms first, then frequent values and sites."""
    fields = [
        StatisticField("sites" if kind == "sites" else column.name.lower(), kind, column)
        for kind in _KINDS
        for column in columns
        if column.statistic == kind
    ]
    return tuple(fields)


@dataclass(frozen=True)
class TableStatistics:
    """Statistics of a table. ``counted`` of its ``rows`` were read: all of them up to 4,000,000,
    else a sample of blocks from the whole table.

    ``columns`` are the statistics by their names, which are attributes too: ``similarity``,
    ``width``, ``height`` (bins), ``nsfw``, ``license``, ``sites`` (shares). One is empty if the
    table lacks its column. ``width`` and ``height`` end with a bin for everything beyond 2,048
    pixels; shares are of at most 20 values, the most frequent first.
    """

    rows: int
    counted: int
    columns: Mapping[str, Bins | Shares] = field(hash=False)
    examples: tuple[Example, ...]

    def __getattr__(self, name: str) -> Bins | Shares:
        columns: Mapping[str, Bins | Shares] = self.__dict__.get("columns", {})
        if name in columns:
            return columns[name]
        raise AttributeError(f"no statistic {name}")

    def to_dict(self) -> dict[str, Any]:
        """The figures as a JSON document."""
        values = asdict(self)
        examples, columns = values.pop("examples"), values.pop("columns")
        return {**values, **columns, "examples": examples}


def read_statistics(table: TableHandle, columns: Sequence[Column] = COLUMNS) -> TableStatistics:
    """Count the rows of ``table`` by those of ``columns`` that have a statistic."""
    rows = int(table.connection.command(f"SELECT count() FROM {table.sql}"))
    every = max(1, round(rows / SAMPLE_ROWS))
    counter = _Counter(table, every)
    return TableStatistics(
        rows=rows,
        counted=rows if every == 1 else counter.counted(),
        columns={
            field.name: _KINDS[field.kind](counter, field.column.name)
            if field.column.name in table.columns
            else ()
            for field in statistic_fields(columns)
        },
        examples=counter.examples(),
    )


class _Counter:
    def __init__(self, table: TableHandle, every: int) -> None:
        self._connection = table.connection
        self._columns = table.columns
        self._local = local_urls(table.info.roots)
        chosen = "" if every == 1 else f" WHERE intDiv(id, {_BLOCK}) % {every} = 0"
        self._from = f"FROM {table.sql}{chosen}"

    def counted(self) -> int:
        return int(self._connection.command(f"SELECT count() {self._from}"))

    def histogram(self, column: str) -> Bins:
        """Equal bins from the least to the greatest value; unknown values are left out."""
        known = f"(SELECT {column} {self._from}) WHERE isFinite({column})"
        bounds = self._connection.rows(
            f"SELECT min({column}) AS low, max({column}) AS high FROM {known}"
        )
        low, high = float(bounds[0]["low"]), float(bounds[0]["high"])
        if not high > low:
            return ()
        step = (high - low) / _STEPS
        counts = self._count_bins(
            f"least(toInt64(floor(({column} - {low!r}) / {step!r})), {_STEPS - 1})",
            f"FROM {known}",
        )
        return tuple(
            Bin(low + i * step, low + (i + 1) * step, counts.get(i, 0)) for i in range(_STEPS)
        )

    def pixels(self, column: str) -> Bins:
        """Bins of 64 pixels from 0 on, the last for all larger; unknown sizes are left out."""
        counts = self._count_bins(
            f"least(intDiv({column}, {_PIXEL_STEP}), {_PIXEL_STEPS})",
            f"FROM (SELECT {column} {self._from}) WHERE {column} > 0",
        )
        return tuple(
            Bin(i * _PIXEL_STEP, (i + 1) * _PIXEL_STEP, counts.get(i, 0))
            for i in range(max(counts, default=-1) + 1)
        )

    def values(self, column: str) -> Shares:
        return self._shares(f"toString({column})")

    def sites(self, column: str) -> Shares:
        return self._shares(f"lower(domain({column}))")

    def _shares(self, expression: str) -> Shares:
        found = self._connection.rows(
            f"SELECT {expression} AS value, count() AS rows {self._from} "
            f"GROUP BY value ORDER BY rows DESC, value LIMIT {_MOST_VALUES}"
        )
        return tuple(Share(str(plain_value(row["value"])), int(row["rows"])) for row in found)

    def examples(self) -> tuple[Example, ...]:
        """Rows with a caption, the same in every call, spread over the rows that were counted."""
        if not {"url", "caption"} <= set(self._columns):
            return ()
        width, height = (
            name if name in self._columns else f"0 AS {name}" for name in ("width", "height")
        )
        found = self._connection.rows(
            f"SELECT id, url, caption, {width}, {height} FROM (SELECT * {self._from}) "
            f"WHERE caption != '' ORDER BY cityHash64(id) LIMIT {_EXAMPLES}"
        )
        plain = [{name: plain_value(value) for name, value in row.items()} for row in found]
        return tuple(Example(**row | {"url": self._local(row["url"])}) for row in plain)

    def _count_bins(self, expression: str, source: str) -> dict[int, int]:
        found = self._connection.rows(
            f"SELECT {expression} AS bin, count() AS rows {source} GROUP BY bin"
        )
        return {int(row["bin"]): int(row["rows"]) for row in found}


_KINDS: dict[StatisticKind, Callable[[_Counter, str], Bins | Shares]] = {
    "histogram": _Counter.histogram,
    "pixels": _Counter.pixels,
    "values": _Counter.values,
    "sites": _Counter.sites,
}
