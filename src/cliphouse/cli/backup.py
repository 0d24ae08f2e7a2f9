"""cliphouse backup"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.cli.opening import patience
from cliphouse.engine.address import parse_address
from cliphouse.wording import counted


def command(
    file: Annotated[Path, typer.Argument(help="The .zip to write.")],
    db: options.Db = options.DB,
) -> None:
    """Write an embedded database to one file: all tables, with their indexes.

    It is written by the engine and read back. cliphouse restore makes a database of it.
    """
    from cliphouse.engine.backup import back_up

    interrupt.keep("there is no backup; run the same command again")
    report = back_up(parse_address(db), file, patience(for_engine=True))
    show.out.print(
        f"{report.file}: {show.size(report.bytes)}, {counted(len(report.tables), 'table')}, "
        f"{counted(sum(report.tables.values()), 'row')}, in {show.seconds(report.seconds)}",
        markup=False,
    )
