"""cliphouse drop"""

from __future__ import annotations

from typing import Annotated

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.cli.opening import open_table, patience
from cliphouse.wording import counted


def command(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
) -> None:
    """Drop the table, with its indexes and the ledger of what was loaded.

    Files of shards stay, so that the table can be loaded again.
    """
    with open_table(db, table, wait=patience(for_engine=True)) as opened:
        rows = opened.summary().rows
        question = f"drop table {table} of {opened.address.shown} with {counted(rows, 'row')}?"
        if not yes and not typer.confirm(question, err=True):
            raise typer.Exit(1)
        interrupt.keep("the table may be dropped in part; run the same command again")
        dropped = opened.drop()
    show.out.print(f"dropped table {table} with {counted(dropped.rows, 'row')}", markup=False)
