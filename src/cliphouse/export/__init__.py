"""A table, or part of it, as files: the export formats, one file each.

To add one, write its file with a subclass of ExportFormat and add it to FORMATS: the command line
and the exporter find it here.
"""

from pathlib import Path

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


_OF_FILES = {".csv", *(f".{name}" for name, form in FORMATS.items() if form.output == "file")}


def format_of(name: str) -> ExportFormat:
    """The format of this name. Raises QueryError, naming those there are, if there is none."""
    if name not in FORMATS:
        raise QueryError(f"format {name!r}: it must be one of {', '.join(FORMATS)}")
    return FORMATS[name]


def check_output(form: ExportFormat, output: Path) -> None:
    """Raises QueryError if ``output`` is a folder where ``form`` writes a file, or names a file
    where it writes a folder."""
    if form.output == "file" and output.is_dir():
        raise QueryError(f"{output}: is a folder; give the name of a file")
    if form.output == "folder" and output.suffix.lower() in _OF_FILES and not output.is_dir():
        raise QueryError(
            f"{output}: {form.name} is written as a folder of files; name a folder, as in: "
            f"cliphouse export {output.with_suffix('')} --format {form.name}"
        )


__all__ = ["FORMATS", "ExportFormat", "check_output", "format_of"]
