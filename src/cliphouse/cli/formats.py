"""Writes results as a table, as files for programs, or as paths, to standard output or a file."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from cliphouse.cli import show
from cliphouse.engine.arrays import as_rows, without_lists
from cliphouse.errors import QueryError
from cliphouse.json_text import to_json
from cliphouse.shards.whole_file import whole_file

if TYPE_CHECKING:
    import pyarrow as pa


class Format(str, Enum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    PATHS = "paths"
    PATHS0 = "paths0"
    VERTICAL = "vertical"


PATH_FORMATS = {Format.PATHS: "\n", Format.PATHS0: "\0"}
_PATH = "url"
_SHORT, _LONG = 120, 2000  # characters of a value: a cell of a table, and a line of its own
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
    if chosen in (Format.TABLE, Format.VERTICAL):
        if output is not None:
            raise QueryError(f"{output}: choose a --format for a file: json, jsonl, csv or parquet")
        draw() if chosen is Format.TABLE else draw_vertical(result())
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
    with whole_file(output) as stream:
        stream.write(data)


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
    if chosen in PATH_FORMATS:
        return _paths(result(), PATH_FORMATS[chosen]).encode()
    buffer = io.BytesIO()
    if chosen is Format.CSV:
        from pyarrow.csv import write_csv

        write_csv(without_lists(result()), buffer)
    else:
        from pyarrow.parquet import write_table

        write_table(result(), buffer)
    return buffer.getvalue()


def _paths(result: pa.Table, end: str) -> str:
    """The files and addresses of the column url, each once and with ``end`` behind it: the file of
    a video for its frames."""
    from cliphouse.pictures.video import split_frame

    if _PATH not in result.column_names:
        raise QueryError(
            f"--format paths prints the column {_PATH}, and there is none: name one, as in "
            f"SELECT path AS {_PATH}"
        )
    urls = (str(row[_PATH] or "") for row in as_rows(result.select([_PATH])))
    paths = list(dict.fromkeys(split_frame(url)[0] for url in urls))
    if any(end in path for path in paths):
        raise QueryError("a path has a line break in it: use --format paths0, and xargs -0")
    if sys.stdout.isatty():
        paths = list(map(show.path, paths))
    return "".join(path + end for path in paths)


def shorten(value: object, limit: int = _SHORT) -> str:
    """A cell of a table: long values are cut, and line breaks become spaces."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


# The columns of EXPLAIN and SHOW CREATE, whose lines and indentation say something.
_LAID_OUT = ("explain", "statement")


def draw_rows(result: pa.Table) -> None:
    """Print rows of whatever columns they have: a line for each, or a block for each if a line
    would be wider than the terminal."""
    if result.column_names in ([name] for name in _LAID_OUT):
        show.out.print(result.column_names[0], style="bold")
        for row in as_rows(result):
            for line in str(next(iter(row.values()))).splitlines():
                show.out.print(show.plain(line), markup=False)
    elif result.column_names:
        cells = [[shorten(value) for value in row.values()] for row in as_rows(result)]
        if show.is_wide(result.column_names, cells):
            draw_vertical(result)
        else:
            show.lines(result.column_names, cells, bounded=False)


def draw_vertical(result: pa.Table) -> None:
    """Print each row as a block with a line for each column, as ClickHouse's own client does."""
    width = max((cell_len(name) for name in result.column_names), default=0) + 1
    for number, row in enumerate(as_rows(result), 1):
        heading = f"Row {number}:"
        show.out.print(f"{heading}\n{'─' * len(heading)}", style="bold")
        for name, value in row.items():
            limit = _SHORT if isinstance(value, list | dict | tuple) else _LONG
            label = show.plain(name) + ":"
            padded = label + " " * (width - cell_len(label))
            show.out.print(f"{padded} {show.plain(shorten(value, limit))}", markup=False)
        show.out.print()
