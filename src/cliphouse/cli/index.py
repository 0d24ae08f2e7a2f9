"""cliphouse index"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

import cliphouse
from cliphouse.cli import options, show
from cliphouse.cli.recall import draw
from cliphouse.table import IndexSpec, Table
from cliphouse.table.index import DEFAULT_EF_CONSTRUCTION, DEFAULT_M
from cliphouse.table.schema import Modality

NAME = "index"


def command(
    what: Annotated[
        Literal["image", "text", "both"], typer.Argument(help="Which embeddings to index.")
    ] = "image",
    metric: Annotated[Literal["cosine", "l2"], typer.Option(help="The distance.")] = "cosine",
    quantization: Annotated[
        Literal["bf16", "f32", "f16", "i8", "b1"], typer.Option(help="What the graph keeps.")
    ] = "bf16",
    m: Annotated[int, typer.Option("--m", help="M, links of a node.")] = DEFAULT_M,
    ef_construction: Annotated[
        int, typer.Option(help="Width of the search that places a node.")
    ] = DEFAULT_EF_CONSTRUCTION,
    drop: Annotated[bool, typer.Option("--drop", help="Drop the index instead.")] = False,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
) -> None:
    """Build an HNSW index and measure its recall, for text and for image queries."""
    modalities: tuple[Modality, ...] = ("image", "text") if what == "both" else (what,)
    with cliphouse.open(db, table) as opened:
        for modality in modalities:
            if drop:
                had = opened.drop_index(modality, metric)
                show.out.print(f"{modality}: {'dropped' if had else 'there was no index'}")
            else:
                spec = IndexSpec(modality, metric, quantization, m, ef_construction)
                _build(opened, spec)


def _build(opened: Table, spec: IndexSpec) -> None:
    rows = opened.summary().rows
    memory = show.size(spec.memory_bytes(rows, opened.info.dim))
    show.err.print(
        f"{spec.modality}: a graph of {rows:,} rows takes {memory} of memory to build and to search"
    )
    with show.share(f"index {spec.modality}") as advance:
        built = opened.index(spec, advance)
    if not built.seconds:
        show.out.print(f"{spec.modality}: the index is there already")
        return
    show.out.print(f"{spec.modality}: {built.rows:,} rows indexed in {show.seconds(built.seconds)}")
    if spec.metric == "cosine":
        with show.progress("recall", "steps") as advance_steps:
            measured = opened.recall(spec.modality, progress=advance_steps)
        draw(measured)
