"""cliphouse index"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.cli.opening import open_table
from cliphouse.cli.recall import draw
from cliphouse.errors import QueryError
from cliphouse.schema.index_spec import DEFAULT_EF_CONSTRUCTION, DEFAULT_M, IndexSpec
from cliphouse.vocabulary import AUTO_KS, Metric, Modality
from cliphouse.wording import counted

if TYPE_CHECKING:
    from cliphouse.planning.build import BuildForecast
    from cliphouse.table import Table

_NO_ANNOY = (
    "ClickHouse has no annoy index any more: leave --kind out to build an HNSW index instead. "
    "Over 100,000 vectors like CLIP's, Annoy with 100 trees found 0.34 of a text query's nearest "
    "images, and HNSW at the width that is chosen here 0.98 (docs/benchmarks/search.md)"
)


def command(
    what: Annotated[
        Literal["image", "text", "both", "captions"],
        typer.Argument(help="Which embeddings to index; or the words of captions, for filters."),
    ] = "image",
    metric: Annotated[
        Literal["cosine", "l2"], typer.Option(help="The distance function.")
    ] = "cosine",
    quantization: Annotated[
        Literal["bf16", "f32", "f16", "i8", "b1"],
        typer.Option(help="The type of the numbers in the graph."),
    ] = "bf16",
    m: Annotated[int, typer.Option("--m", help="Links per node (M).")] = DEFAULT_M,
    ef_construction: Annotated[
        int, typer.Option(help="The search width during the build.")
    ] = DEFAULT_EF_CONSTRUCTION,
    kind: Annotated[
        Literal["hnsw", "annoy"], typer.Option(help="The kind of index; only hnsw exists.")
    ] = "hnsw",
    force: Annotated[
        bool, typer.Option("--force", help="Build the index even if it does not fit into memory.")
    ] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure/--no-measure",
            help="Measure recall after the build, so that mode auto can use the index.",
        ),
    ] = True,
    drop: Annotated[
        bool, typer.Option("--drop", help="Drop the index instead of building it.")
    ] = False,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
) -> None:
    """Build an HNSW index and measure its recall, for text and for image queries.

    The indexes of captions serve filters and conditions for a part of the caption that few rows
    have.
    """
    if kind == "annoy":
        raise QueryError(_NO_ANNOY)
    if what == "captions":
        _captions(db, table, drop)
        return
    interrupt.keep(interrupt.GOES_ON)
    modalities: tuple[Modality, ...] = ("image", "text") if what == "both" else (what,)
    specs = [IndexSpec(each, metric, quantization, m, ef_construction) for each in modalities]
    with open_table(db, table) as opened:
        if drop:
            _drop(opened, modalities, metric)
            return
        rows = _announce(opened, specs, measure)
        for spec in specs:
            _build(opened, spec, force, rows)
            if measure and _is_measurable(rows):
                _measure(opened, spec)
            elif measure:
                show.out.print(
                    f"{spec.modality}: {counted(rows, 'row')}, too few to measure recall: a search "
                    "compares them all"
                )


def _drop(opened: Table, modalities: Sequence[Modality], metric: Metric) -> None:
    for modality in modalities:
        had = opened.drop_index(modality, metric)
        show.out.print(f"{modality}: {'dropped' if had else 'there is no index to drop'}")


def _captions(db: str, table: str, drop: bool) -> None:
    interrupt.keep(interrupt.GOES_ON)
    with open_table(db, table) as opened:
        if drop:
            had = opened.drop_index("captions")
            show.out.print(f"captions: {'dropped' if had else 'there is no index to drop'}")
            return
        with show.shares("index captions") as advance:
            built = opened.index_captions(advance)
    if not built.seconds:
        show.out.print("captions: the indexes exist already")
        return
    took, size = show.seconds(built.seconds), show.size(built.disk_bytes)
    show.out.print(f"captions: {counted(built.rows, 'row')} indexed in {took}, {size}")


def _build(opened: Table, spec: IndexSpec, force: bool, rows: int) -> None:
    with show.shares(f"index {spec.modality}", rows) as advance:
        built = opened.index(spec, advance, force=force)
    if not built.seconds:
        show.out.print(f"{spec.modality}: the index exists already")
        return
    indexed = counted(built.rows, "row")
    show.out.print(f"{spec.modality}: {indexed} indexed in {show.seconds(built.seconds)}")


def _measure(opened: Table, spec: IndexSpec) -> None:
    """Measure the recall of an index that was built now, or by an earlier run that was stopped
    before it was measured."""
    from cliphouse.recall.keep import is_measured

    modality = spec.modality
    if is_measured(opened.info, modality, spec.metric, AUTO_KS, "hnsw"):
        return
    show.err.print(f"{modality}: measuring recall; the index is kept if this is interrupted")
    started = time.monotonic()
    interrupt.keep(
        f"the {modality} index is built and kept, but its recall is not measured, so mode auto "
        f"does not use it. To measure it: {_finish(spec)}"
    )
    with show.shares(f"measuring recall {modality}") as advance:
        measured = opened.recall(
            modality,
            AUTO_KS,
            metric=spec.metric,
            save=True,
            progress=lambda done, total: advance({"": done / total}),
            quick=True,
        )
    interrupt.keep(interrupt.GOES_ON)
    took = show.seconds(time.monotonic() - started)
    show.out.print(f"{modality}: recall measured in {took}")
    draw(measured)


def _is_measurable(rows: int) -> bool:
    """Whether there are more rows than a search finds anyway."""
    return rows >= AUTO_KS[0]


def _finish(spec: IndexSpec) -> str:
    metric = "" if spec.metric == "cosine" else f" --metric {spec.metric}"
    return f"cliphouse recall {spec.modality}{metric} --save"


def _announce(opened: Table, specs: Sequence[IndexSpec], measure: bool) -> int:
    """Print all that will be done, and the memory and time that it needs, before it begins. Returns
    the number of rows."""
    rows = 0
    for spec in specs:
        forecast = opened.forecast(spec)
        _announce_build(forecast)
        rows = forecast.graph.rows
    names = " and ".join(spec.modality for spec in specs)
    line = f"{names}: the table is merged into one part, and graphs that it lacks are built"
    if measure and _is_measurable(rows):
        line += "; then recall is measured (--no-measure leaves that out)"
    show.err.print(line)
    return rows


def _announce_build(expected: BuildForecast) -> None:
    graph = expected.graph
    show.err.print(
        f"{graph.spec.modality}: the graph needs memory to build and to search: {graph.sum}; "
        f"the build takes about {show.seconds(max(expected.seconds, 0.1))} here"
    )
    if graph.cache is not None and not expected.fits_cache:
        show.err.print(
            f"{graph.spec.modality}: the engine keeps graphs of up to {show.size(graph.cache)} in "
            "memory and reads larger ones from disk for every search. This one counts as "
            f"{show.size(expected.cache_bytes)}: raise vector_similarity_index_cache_size in the "
            "server's configuration"
        )
