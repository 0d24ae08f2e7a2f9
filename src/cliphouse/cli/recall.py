"""cliphouse recall"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.cli.opening import open_table
from cliphouse.cli.plot import check_plot, plot_recall
from cliphouse.errors import QueryError
from cliphouse.json_text import to_json
from cliphouse.search.methods.figures import taken_by_auto
from cliphouse.vocabulary import AUTO_KS, Measured, Modality
from cliphouse.wording import counted

if TYPE_CHECKING:
    from cliphouse.recall.rounding import RoundingCost
    from cliphouse.table import Table


def command(
    modality: Annotated[
        Literal["image", "text"], typer.Argument(help="Which embeddings to search.")
    ] = "image",
    k: Annotated[
        int | None,
        typer.Option("-k", help="Number of results; by default 10, with --save also 100."),
    ] = None,
    queries: Annotated[int, typer.Option(help="Number of queries of each kind.")] = 200,
    target: Annotated[
        float | None,
        typer.Option(
            help="The recall that mode auto must reach; by default, 0.95 for text queries and 0.99 "
            "for image queries."
        ),
    ] = None,
    metric: Annotated[
        Literal["cosine", "l2"], typer.Option(help="The distance function.")
    ] = "cosine",
    save: Annotated[
        bool, typer.Option("--save", help="Save the measurements with the table, for mode auto.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Plot recall against latency into a .svg, .png or .pdf file."),
    ] = None,
    shards: Annotated[
        list[str] | None,
        typer.Option(
            help="The folder of the table's shards, to measure what rounding to bfloat16 costs."
        ),
    ] = None,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    json: options.Json = False,
) -> None:
    """Measure recall and latency of every search mode, for text and for image queries."""
    if plot is not None:
        check_plot(plot)
    interrupt.keep("nothing was saved")
    with open_table(db, table) as opened:
        ks = (AUTO_KS if save else AUTO_KS[:1]) if k is None else (k,)
        _check_rows(opened.count(), ks[0])
        with show.shares(f"measuring recall {modality}") as advance:

            def tell(done: int, total: int) -> None:
                advance({"": done / total})

            measured = opened.recall(modality, ks, queries, target, metric, save, tell)
        costs = _rounding(opened, shards, modality, ks[0], queries, metric)
    measured = tuple(entry for entry in measured if entry.k <= entry.rows)
    if plot is not None:
        plot_recall(measured, plot)
    if json:
        print(to_json(_document(measured, costs, shards is not None)))
        return
    draw(measured)
    for cost in costs:
        show.out.print(
            f"{cost.query} queries: the table finds {cost.recall:.3f} of the top {cost.k} of the "
            f"shards' own vectors ({cost.queries} queries)"
        )


def _check_rows(rows: int, k: int) -> None:
    """Raises QueryError if a search for ``k`` results finds all rows there are. (That a table is
    empty, others say.)"""
    if 0 < rows < k:
        raise QueryError(f"{counted(rows, 'row')}: recall@{k} says nothing; choose a smaller -k")


def _rounding(
    opened: Table,
    shards: list[str] | None,
    modality: Modality,
    k: int,
    queries: int,
    metric: Literal["cosine", "l2"],
) -> tuple[RoundingCost, ...]:
    if not shards:
        return ()
    return opened.rounding_cost(*shards, modality=modality, k=k, queries=queries, metric=metric)


def _document(measured: Sequence[Measured], costs: Sequence[RoundingCost], with_costs: bool) -> Any:
    entries = [asdict(entry) for entry in measured]
    return {"measured": entries, "rounding": list(map(asdict, costs))} if with_costs else entries


def draw(measured: Sequence[Measured]) -> None:
    """Print the measurements, one line for each mode and width; * marks what auto uses. Those of
    more results than there are rows say nothing, nor does the error of a recall of 1."""
    for k in sorted({entry.k for entry in measured if entry.k <= entry.rows}):
        entries = [entry for entry in measured if entry.k == k]
        chosen = {id(entry) for entry in taken_by_auto(entries)}
        rows = [
            (
                entry.query,
                entry.mode,
                entry.width or "",
                f"{entry.recall:.3f}",
                f"{entry.standard_error:.3f}" if entry.width and entry.recall < 1 else "",
                f"{entry.milliseconds:.1f}",
                f"{entry.p95:.1f}",
                "*" if id(entry) in chosen else "",
            )
            for entry in entries
        ]
        headings = ("query", "mode", "width", f"recall@{k}", "±", "median ms", "p95 ms", "auto")
        show.table(headings, rows, right="llrrrrr")
        queries = max(entry.queries for entry in entries)
        show.out.print(f"{queries} queries of each kind over {entries[0].rows:,} rows", style="dim")
