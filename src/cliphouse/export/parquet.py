"""One parquet file with every column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cliphouse.export.format import ExportFormat
from cliphouse.export.rows import ChosenRows
from cliphouse.shards.whole_file import whole_file

if TYPE_CHECKING:
    import pyarrow.parquet as pq


class ParquetExport(ExportFormat):
    """One parquet file with every column, a row group for each batch."""

    name = "parquet"
    help = "one file with every column"
    output = "file"

    def write(self, rows: ChosenRows, output: Path) -> list[Path]:
        write_parquet(rows, rows.columns, output)
        return [output]


def write_parquet(rows: ChosenRows, columns: Sequence[str], path: Path) -> None:
    """Write ``columns`` of the rows to one parquet file."""
    import pyarrow.parquet as pq

    with whole_file(path) as stream:
        writer: pq.ParquetWriter | None = None
        for batch in rows.batches(columns):
            writer = writer or pq.ParquetWriter(stream, batch.schema)
            writer.write_table(batch)
            rows.advance(batch.num_rows)
        if writer is not None:
            writer.close()
