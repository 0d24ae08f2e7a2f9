"""cliphouse sql"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer

import cliphouse
from cliphouse.cli import options
from cliphouse.cli.formats import Format, draw_rows, write

NAME = "sql"


def command(
    statement: Annotated[str, typer.Argument(help="One SQL statement.")],
    db: options.Db = options.DB,
    chosen: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    json: options.Json = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file.")] = None,
) -> None:
    """Run a SQL statement on the database."""
    with cliphouse.open(db) as opened:
        result = opened.sql(statement)
    rows = as_rows(result)
    write(
        rows,
        Format.JSON if json else chosen,
        output,
        lambda: rows,
        lambda: draw_rows(result.column_names, rows),
    )


def as_rows(result: pa.Table) -> list[dict[str, Any]]:
    """Rows as dicts; bytes that are no UTF-8, which ClickHouse's String may hold, are replaced."""
    columns = []
    for column in result.columns:
        is_text = pa.types.is_string(column.type) or pa.types.is_binary(column.type)
        values = column.cast(pa.binary()).to_pylist() if is_text else column.to_pylist()
        columns.append(
            [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
        )
    return [dict(zip(result.column_names, row, strict=True)) for row in zip(*columns, strict=True)]
