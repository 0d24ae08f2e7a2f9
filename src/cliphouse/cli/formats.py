"""Results as table, json, jsonl, csv or parquet, on standard output or in a file."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from cliphouse.cli import show
from cliphouse.errors import QueryError


class Format(str, Enum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def write(
    rows: Sequence[dict[str, Any]],
    chosen: Format,
    output: Path | None,
    whole: Callable[[], Any],
    draw: Callable[[], None],
) -> None:
    """Write ``rows`` in a format; ``whole`` gives the JSON document, ``draw`` prints the table.

    Raises QueryError where a table should go into a file or parquet onto a terminal.
    """
    if chosen is Format.TABLE:
        if output is not None:
            raise QueryError(f"{output}: choose a --format for a file: json, jsonl, csv or parquet")
        draw()
        return
    if chosen is Format.PARQUET and output is None and sys.stdout.isatty():
        raise QueryError("parquet is not for a terminal; name a file with -o FILE")
    data = _encode(rows, chosen, whole)
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    part = output.with_name(output.name + ".part")
    part.write_bytes(data)
    part.replace(output)


def to_json(document: Any, indent: int | None = None) -> str:
    """JSON as programs read it: NaN, which JSON does not have, becomes null."""
    return json.dumps(_plain(document), ensure_ascii=False, indent=indent, default=str)


def _encode(rows: Sequence[dict[str, Any]], chosen: Format, whole: Callable[[], Any]) -> bytes:
    if chosen is Format.JSON:
        return (to_json(whole(), indent=2) + "\n").encode()
    if chosen is Format.JSONL:
        return "".join(to_json(row) + "\n" for row in rows).encode()
    buffer = io.BytesIO()
    arrow = pa.Table.from_pylist(list(rows))
    if chosen is Format.CSV:
        flat = [
            row | {k: to_json(v) for k, v in row.items() if isinstance(v, list)} for row in rows
        ]
        pa_csv.write_csv(pa.Table.from_pylist(flat), buffer)
    else:
        pq.write_table(arrow, buffer)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def shorten(value: object, limit: int = 120) -> str:
    """A cell of a table: long arrays and texts cut, line breaks shown as spaces."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def draw_rows(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table of whatever columns they have."""
    if columns:
        cells = [[shorten(row[name]) for name in columns] for row in rows]
        show.out.print(show.table(columns, cells))
