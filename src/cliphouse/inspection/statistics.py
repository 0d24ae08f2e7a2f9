"""What a table's rows are like, counted by the engine: similarity, size, NSFW, license, sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cliphouse.schema.handle import TableHandle

SAMPLE_ROWS = 4_000_000
_BLOCK = 8192  # neighbouring rows sampled together, so that most granules need not be read
_SIMILARITY_STEPS = 40
_PIXEL_STEP = 64
_PIXEL_STEPS = 32
_MOST_VALUES = 20
_EXAMPLES = 12


@dataclass(frozen=True)
class Bin:
    """How many rows have a value from ``low`` up to, but without, ``high``."""

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
    """A row to begin with."""

    id: int
    url: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class TableStatistics:
    """What the rows are like. ``counted`` of ``rows`` were looked at: all of them up to 4,000,000,
    else blocks from the whole table. A list is empty where the table lacks its column. ``width``
    and ``height`` end with a bin for everything beyond 2,048 pixels; the others hold at most 20
    values, the most frequent first."""

    rows: int
    counted: int
    similarity: tuple[Bin, ...]
    width: tuple[Bin, ...]
    height: tuple[Bin, ...]
    nsfw: tuple[Share, ...]
    license: tuple[Share, ...]
    sites: tuple[Share, ...]
    examples: tuple[Example, ...]


def read_statistics(table: TableHandle) -> TableStatistics:
    """Count the rows of ``table``."""
    rows = int(table.connection.command(f"SELECT count() FROM {table.sql}"))
    every = max(1, round(rows / SAMPLE_ROWS))
    counter = _Counter(table, every)
    return TableStatistics(
        rows=rows,
        counted=rows if every == 1 else counter.counted(),
        similarity=counter.similarity(),
        width=counter.pixels("width"),
        height=counter.pixels("height"),
        nsfw=counter.values("NSFW", "toString(NSFW)"),
        license=counter.values("license", "toString(license)"),
        sites=counter.values("url", "lower(domain(url))"),
        examples=counter.examples(),
    )


class _Counter:
    def __init__(self, table: TableHandle, every: int) -> None:
        self._connection = table.connection
        self._columns = table.columns
        chosen = "" if every == 1 else f" WHERE intDiv(id, {_BLOCK}) % {every} = 0"
        self._from = f"FROM {table.sql}{chosen}"

    def counted(self) -> int:
        return int(self._connection.command(f"SELECT count() {self._from}"))

    def similarity(self) -> tuple[Bin, ...]:
        """Between the least and the greatest value; rows whose similarity is unknown are none."""
        if "similarity" not in self._columns:
            return ()
        known = f"(SELECT similarity {self._from}) WHERE isFinite(similarity)"
        bounds = self._connection.rows(
            f"SELECT min(similarity) AS low, max(similarity) AS high FROM {known}"
        )
        low, high = float(bounds[0]["low"]), float(bounds[0]["high"])
        if not high > low:
            return ()
        step = (high - low) / _SIMILARITY_STEPS
        counts = self._histogram(
            f"least(toInt64(floor((similarity - {low!r}) / {step!r})), {_SIMILARITY_STEPS - 1})",
            f"FROM {known}",
        )
        return tuple(
            Bin(low + i * step, low + (i + 1) * step, counts.get(i, 0))
            for i in range(_SIMILARITY_STEPS)
        )

    def pixels(self, column: str) -> tuple[Bin, ...]:
        if column not in self._columns:
            return ()
        counts = self._histogram(
            f"least(intDiv({column}, {_PIXEL_STEP}), {_PIXEL_STEPS})",
            f"FROM (SELECT {column} {self._from}) WHERE {column} > 0",
        )
        return tuple(
            Bin(i * _PIXEL_STEP, (i + 1) * _PIXEL_STEP, counts.get(i, 0))
            for i in range(max(counts, default=-1) + 1)
        )

    def values(self, column: str, expression: str) -> tuple[Share, ...]:
        if column not in self._columns:
            return ()
        found = self._connection.rows(
            f"SELECT {expression} AS value, count() AS rows {self._from} "
            f"GROUP BY value ORDER BY rows DESC, value LIMIT {_MOST_VALUES}"
        )
        return tuple(Share(_text(row["value"]), int(row["rows"])) for row in found)

    def examples(self) -> tuple[Example, ...]:
        """Rows with a caption, the same each time, from all over what was counted."""
        if not {"url", "caption"} <= set(self._columns):
            return ()
        width, height = (
            name if name in self._columns else f"0 AS {name}" for name in ("width", "height")
        )
        found = self._connection.rows(
            f"SELECT id, url, caption, {width}, {height} FROM (SELECT * {self._from}) "
            f"WHERE caption != '' ORDER BY cityHash64(id) LIMIT {_EXAMPLES}"
        )
        return tuple(
            Example(
                row["id"], _text(row["url"]), _text(row["caption"]), row["width"], row["height"]
            )
            for row in found
        )

    def _histogram(self, expression: str, source: str) -> dict[int, int]:
        found = self._connection.rows(
            f"SELECT {expression} AS bin, count() AS rows {source} GROUP BY bin"
        )
        return {int(row["bin"]): int(row["rows"]) for row in found}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
