"""cliphouse restore"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.engine.address import parse_address
from cliphouse.wording import counted


def command(
    file: Annotated[Path, typer.Argument(help="A .zip that cliphouse backup has written.")],
    db: options.Db = options.DB,
) -> None:
    """Make an embedded database of a backup, in a new folder."""
    from cliphouse.engine.backup import restore

    interrupt.keep("nothing was restored; run the same command again")
    report = restore(file, parse_address(db))
    show.out.print(
        f"{db}: {counted(len(report.tables), 'table')}, "
        f"{counted(sum(report.tables.values()), 'row')}, in {show.seconds(report.seconds)}",
        markup=False,
    )
