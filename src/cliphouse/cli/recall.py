"""cliphouse recall"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Literal

import typer

import cliphouse
from cliphouse.cli import options, show
from cliphouse.cli.formats import to_json
from cliphouse.table import Measured
from cliphouse.table.search import TARGET_RECALL

NAME = "recall"


def command(
    modality: Annotated[
        Literal["image", "text"], typer.Argument(help="Whose index to measure.")
    ] = "image",
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many results.")] = 10,
    queries: Annotated[int, typer.Option(min=1, help="Queries of each kind.")] = 100,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    json: options.Json = False,
) -> None:
    """Measure the index against the exact answer, for text and for image queries, and keep it."""
    with cliphouse.open(db, table) as opened, show.progress("recall", "steps") as advance:
        measured = opened.recall(modality, k, queries, advance)
    if json:
        print(to_json([asdict(entry) for entry in measured]))
    else:
        draw(measured)


def draw(measured: Sequence[Measured]) -> None:
    """Print the measurements, one line a mode and width."""
    rows = [
        (
            entry.query,
            entry.mode,
            entry.ef or "",
            f"{entry.recall:.3f}",
            f"{entry.milliseconds:.1f}",
            "" if entry.recall >= TARGET_RECALL else f"below {TARGET_RECALL}",
        )
        for entry in measured
    ]
    headings = ("query", "mode", "ef", f"recall@{measured[0].k}", "ms", "")
    show.out.print(show.table(headings, rows, right="llrrr"))
    show.out.print(
        f"{measured[0].queries} queries of each kind over {measured[0].rows:,} rows", style="dim"
    )
