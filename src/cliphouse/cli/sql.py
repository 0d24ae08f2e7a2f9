"""cliphouse sql"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cliphouse
from cliphouse.cli import options
from cliphouse.cli.formats import Format, as_rows, draw_rows, write

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
    write(
        result,
        Format.JSON if json else chosen,
        output,
        lambda: as_rows(result),
        lambda: draw_rows(result),
    )
