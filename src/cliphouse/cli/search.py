"""cliphouse search"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import typer

import cliphouse
from cliphouse.cli import options, show
from cliphouse.cli.formats import Format, write
from cliphouse.table import Hit, SearchResult

NAME = "search"
_ARROW = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}
_HITS = pa.schema([(field.name, _ARROW[str(field.type)]) for field in fields(Hit)])


def command(
    query: Annotated[
        str, typer.Argument(help="Words, a picture's path, a .npy file with one vector, or id:N.")
    ],
    k: Annotated[int, typer.Option("-k", help="How many results.")] = 10,
    modality: Annotated[
        Literal["image", "text"], typer.Option(help="Which embeddings to search.")
    ] = "image",
    where: Annotated[
        str | None, typer.Option(help="A SQL condition, as in: similarity > 0.3")
    ] = None,
    metric: Annotated[Literal["cosine", "l2"], typer.Option(help="The distance.")] = "cosine",
    mode: Annotated[
        Literal["auto", "exact", "hnsw"],
        typer.Option(
            help="auto uses the index where its measured recall is good and it is faster."
        ),
    ] = "auto",
    ef: Annotated[int | None, typer.Option(min=1, help="The search width of mode hnsw.")] = None,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    model: options.Model = None,
    model_dir: options.ModelDir = None,
    chosen: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    json: options.Json = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file.")] = None,
    show_sql: Annotated[bool, typer.Option("--show-sql", help="Print the statement too.")] = False,
) -> None:
    """Find the pictures nearest to words, a picture, a vector or a row."""
    with cliphouse.open(db, table, model, options.folder(model_dir)) as opened:
        result = opened.search(query, k, modality, where, metric, mode, ef)
    if show_sql:
        show.err.print(result.sql, markup=False)
    write(
        pa.Table.from_pylist([asdict(hit) for hit in result], schema=_HITS),
        Format.JSON if json else chosen,
        output,
        result.to_dict,
        lambda: _draw(result),
    )


def _draw(result: SearchResult) -> None:
    rows = [
        (rank, f"{hit.similarity:.3f}", hit.caption, hit.url, hit.id)
        for rank, hit in enumerate(result, 1)
    ]
    headings = ("", "similarity", "caption", "url", "id")
    show.out.print(show.table(headings, rows, right="rr"))
    stats = result.stats
    width = f" ef {stats.ef}" if stats.ef else ""
    recall = "unmeasured" if stats.recall is None else f"{stats.recall:.3f}"
    show.err.print(
        f"{len(result)} rows, {stats.mode}{width} ({stats.reason}), recall@k {recall}, "
        f"query {stats.encode_ms:.0f} ms, search {stats.search_ms:.0f} ms",
        style="dim",
    )
