"""Writes results as a table, as files for programs, or as paths, to standard output or a file."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliphouse.cli import show
from cliphouse.cli.rows import draw_vertical
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
_SCORE_DIGITS = 6
_BY_SUFFIX = {f".{form.value}": form for form in Format} | {".ndjson": Format.JSONL}
_DRAWN = (Format.TABLE, Format.VERTICAL)
# The names of the engine's own formats that are a format of ours. Many a file .json has lines.
_ENGINES = {
    Format.TABLE: r"Pretty\w*",
    Format.VERTICAL: r"Vertical",
    Format.JSON: r"JSON\w*",
    Format.JSONL: r"JSON\w*EachRow\w*|JSONLines|NDJSON",
    Format.CSV: r"CSV\w*",
    Format.PARQUET: r"Parquet",
}


def asked_format(chosen: Format | None, json: bool, output: Path | None) -> Format | None:
    """The format that the user chose, else the one that the file's ending names, if any."""
    if chosen is not None or json:
        return Format.JSON if json else chosen or Format.JSON
    return None if output is None else _BY_SUFFIX.get(output.suffix.lower())


def choose_format(chosen: Format | None, json: bool, output: Path | None) -> Format:
    """The format that the user chose, else the one that the file's ending names, else a table."""
    return asked_format(chosen, json, output) or Format.TABLE


def is_format(name: str, form: Format) -> bool:
    """Whether a FORMAT of the engine, by its ``name``, is such as ``form``."""
    return re.fullmatch(_ENGINES.get(form, ""), name, re.IGNORECASE) is not None


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
    if chosen in _DRAWN:
        check_for_file(chosen, output)
        draw() if chosen is Format.TABLE else draw_vertical(result(), _SCORE_DIGITS)
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


def check_for_file(chosen: Format, output: Path | None) -> None:
    """Raise QueryError if a table should go into a file."""
    if output is not None and chosen in _DRAWN:
        raise QueryError(f"{output}: choose a --format for a file: json, jsonl, csv or parquet")


def check_output(path: Path) -> None:
    """Raise QueryError if ``path`` is a folder, or a file in a folder that does not exist or cannot
    be written."""
    if path.is_dir():
        raise QueryError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise QueryError(f"{path}: the folder {path.parent} does not exist")
    if path.exists() and not path.is_file():  # a device or a pipe, such as /dev/stdout
        return
    folder = path.resolve().parent if path.is_symlink() else path.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise QueryError(f"{path}: the folder {folder} cannot be written to; name another")


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
