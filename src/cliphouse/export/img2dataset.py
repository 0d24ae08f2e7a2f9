"""A list of pictures that img2dataset can download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cliphouse.export.format import ExportFormat
from cliphouse.export.parquet import write_parquet
from cliphouse.export.rows import ChosenRows
from cliphouse.schema.columns import COLUMNS


class Img2datasetExport(ExportFormat):
    """A parquet file with what img2dataset reads of each picture (``Column.picture_list``), and the
    columns of the table's own, which it keeps if it is told to (save_additional_columns)."""

    name = "img2dataset"
    help = "a parquet file of URLs and captions"
    output = "file"

    def write(self, rows: ChosenRows, output: Path) -> list[Path]:
        own = (column.name for column in rows.table.info.kept)
        write_parquet(rows, [*_listed(rows.columns), *own], output)
        return [output]


def _listed(present: Sequence[str]) -> list[str]:
    """The columns of the list that the table has, in the order of the list."""
    listed = [column for column in COLUMNS if column.picture_list and column.name in present]
    return [column.name for column in sorted(listed, key=lambda column: column.picture_list)]
