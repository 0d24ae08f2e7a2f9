"""Writes results as table, json, jsonl, csv or parquet, to standard output or a file."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliphouse.cli import show
from cliphouse.engine.arrays import as_rows, without_lists
from cliphouse.errors import QueryError
from cliphouse.json_text import to_json
from cliphouse.shards.disk import disk_errors

if TYPE_CHECKING:
    import pyarrow as pa


class Format(str, Enum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_BY_SUFFIX = {f".{form.value}": form for form in Format} | {".ndjson": Format.JSONL}


def choose_format(chosen: Format | None, json: bool, output: Path | None) -> Format:
    """The format that the user chose, else the one that the file's ending names, else a table."""
    if chosen is not None or json:
        return Format.JSON if json else chosen or Format.JSON
    suffix = "" if output is None else output.suffix.lower()
    return _BY_SUFFIX.get(suffix, Format.TABLE)


def write(
    result: Callable[[], pa.Table],
    chosen: Format,
    output: Path | None,
    whole: Callable[[], Any],
    draw: Callable[[], None],
) -> None:
    """Write a result in a format: ``result`` gives its rows, ``whole`` its JSON document, and
    ``draw`` prints it as a table.

    Raises QueryError if a table should go into a file or parquet onto a terminal, or if the file
    cannot be created.
    """
    if chosen is Format.TABLE:
        if output is not None:
            raise QueryError(f"{output}: choose a --format for a file: json, jsonl, csv or parquet")
        draw()
        return
    if chosen is Format.PARQUET and output is None and sys.stdout.isatty():
        raise QueryError("parquet cannot be printed on a terminal; give a file with -o FILE")
    if output is not None:
        check_output(output)
    write_bytes(_encode(result, chosen, whole), output)


def write_bytes(data: bytes, output: Path | None) -> None:
    """Write to a file, which appears whole or not at all, or to standard output. Raises QueryError
    as check_output does."""
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    check_output(output)
    part = output.with_name(output.name + ".part")
    with disk_errors(output):
        try:
            part.write_bytes(data)
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)


def check_output(path: Path) -> None:
    """Raise QueryError if ``path`` is a folder or its folder does not exist."""
    if path.is_dir():
        raise QueryError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise QueryError(f"{path}: the folder {path.parent} does not exist")


def _encode(result: Callable[[], pa.Table], chosen: Format, whole: Callable[[], Any]) -> bytes:
    if chosen is Format.JSON:
        return (to_json(whole(), indent=2) + "\n").encode()
    if chosen is Format.JSONL:
        return "".join(to_json(row) + "\n" for row in as_rows(result())).encode()
    buffer = io.BytesIO()
    if chosen is Format.CSV:
        from pyarrow.csv import write_csv

        write_csv(without_lists(result()), buffer)
    else:
        from pyarrow.parquet import write_table

        write_table(result(), buffer)
    return buffer.getvalue()


def shorten(value: object, limit: int = 120) -> str:
    """A cell of a table: long values are cut, and line breaks become spaces."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


# The columns of EXPLAIN and SHOW CREATE, whose lines and indentation say something.
_LAID_OUT = ("explain", "statement")


def draw_rows(result: pa.Table) -> None:
    """Print rows as a table of whatever columns they have."""
    if result.column_names in ([name] for name in _LAID_OUT):
        show.out.print(result.column_names[0], style="bold")
        for row in as_rows(result):
            for line in str(next(iter(row.values()))).splitlines():
                show.out.print(show.plain(line), markup=False)
    elif result.column_names:
        cells = [[shorten(value) for value in row.values()] for row in as_rows(result)]
        show.out.print(show.table(result.column_names, cells))
