"""CSV as the ClickHouse guide's recipe writes it: N.csv for each shard."""

from __future__ import annotations

from pathlib import Path

from cliphouse.export.format import ExportFormat
from cliphouse.export.rows import ChosenRows
from cliphouse.shards.fields import CSV_COLUMNS
from cliphouse.shards.numbering import ID_BITS
from cliphouse.shards.whole_file import whole_file

_ROW_NUMBER = f"bitAnd(id, {(1 << ID_BITS) - 1})"


class GuideCsvExport(ExportFormat):
    """What the guide's process.py writes, but for the quotes in captions, which it removes."""

    name = "csv"
    help = "N.csv for each shard, as the ClickHouse guide's recipe writes it"
    output = "folder"
    needs = CSV_COLUMNS

    def write(self, rows: ChosenRows, output: Path) -> list[Path]:
        paths = []
        for part in rows.parts:
            path = output / f"{part.shard}.csv"
            with whole_file(path) as stream:
                rows.stream(stream, (_ROW_NUMBER, *map(rows.plain, CSV_COLUMNS)), part, "CSV")
            paths.append(path)
            rows.advance(part.rows)
        return paths
