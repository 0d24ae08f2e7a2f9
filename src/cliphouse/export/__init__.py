"""A table, or part of it, as files: the export formats, one file each.

To add one, write its file with a subclass of ExportFormat and add it to FORMATS: the command line
and the exporter find it here.
"""

from cliphouse.errors import QueryError
from cliphouse.export.format import ExportFormat
from cliphouse.export.guide_csv import GuideCsvExport
from cliphouse.export.img2dataset import Img2datasetExport
from cliphouse.export.jsonl import JsonLinesExport
from cliphouse.export.parquet import ParquetExport
from cliphouse.export.shards import ShardsExport

FORMATS: dict[str, ExportFormat] = {
    one.name: one
    for one in (
        GuideCsvExport(),
        ShardsExport(),
        ParquetExport(),
        JsonLinesExport(),
        Img2datasetExport(),
    )
}


def format_of(name: str) -> ExportFormat:
    """The format of this name. Raises QueryError, naming those there are, if there is none."""
    if name not in FORMATS:
        raise QueryError(f"format {name!r}: it must be one of {', '.join(FORMATS)}")
    return FORMATS[name]


__all__ = ["FORMATS", "ExportFormat", "format_of"]
