"""cliphouse duplicates"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cliphouse.cli import options, show
from cliphouse.cli.opening import open_table
from cliphouse.json_text import to_json
from cliphouse.wording import counted

if TYPE_CHECKING:
    from cliphouse.inspection.duplicates import DuplicateGroup

_KINDS = {"file": "the same file", "picture": "similar pictures"}


def command(
    threshold: Annotated[
        float,
        typer.Option(help="The least cosine similarity of two pictures' vectors, up to 1."),
    ] = 0.97,
    where: Annotated[
        str | None, typer.Option(help="A SQL condition on the rows, as in: width > 200")
    ] = None,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    json: options.Json = False,
) -> None:
    """List groups of pictures that are the same, byte by byte, or nearly. It deletes nothing."""
    with (
        open_table(db, table) as opened,
        show.progress("duplicates") as advance,
    ):
        groups = opened.duplicates(threshold, where, advance)
    if json:
        print(to_json([asdict(group) for group in groups]))
        return
    for group in groups:
        _draw(group)
    if not groups:
        show.out.print("no duplicates")
        return
    more = sum(len(group.rows) - 1 for group in groups)
    show.out.print(f"{counted(len(groups), 'group')}, {counted(more, 'row')} more than one of each")


def _draw(group: DuplicateGroup) -> None:
    show.out.print(f"{len(group.rows):,} rows, {_KINDS[group.kind]}")
    rows = [(row.id, f"{row.score:.3f}", row.caption, show.path(row.url)) for row in group.rows]
    show.lines(("id", "score", "caption", "url"), rows, right="rr")
