"""cliphouse plan"""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any

import typer

from cliphouse.cli import options, show
from cliphouse.errors import QueryError
from cliphouse.json_text import to_json
from cliphouse.planning import costs
from cliphouse.planning import plan as planning
from cliphouse.planning.costs import Collection, Speeds
from cliphouse.planning.plan import Estimate, Machines, TablePlan

_NUMBER = re.compile(r"(\d+\.?\d*(?:e\d{1,2})?)\s*([a-z]*)", re.IGNORECASE)
_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_SIZES = {
    "": 1, "b": 1,
    "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
HEADINGS = (
    "layout", "disk", "while indexing", "memory", "to build", "page cache", "load", "index",
    "query", "queries/s", "from disk", "note",
)  # fmt: skip


def command(
    rows: Annotated[
        str, typer.Option(help="Number of rows, for example 400M, 5.8B, 1e9 or 120000.")
    ],
    dim: Annotated[int, typer.Option(min=1, max=65_536, help="Dimensions of an embedding.")] = 512,
    modalities: Annotated[
        int,
        typer.Option(min=1, max=2, help="Embeddings of a row: 1 (image) or 2 (image and text)."),
    ] = 2,
    nodes: Annotated[
        int, typer.Option(min=1, max=100_000, help="Machines that share the rows.")
    ] = 1,
    replicas: Annotated[
        int,
        typer.Option(
            min=1, max=10, help="Machines that hold each row; --nodes must be a multiple."
        ),
    ] = 1,
    loaders: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, help="Machines that load at the same time; by default, all nodes."
        ),
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="Cores of a machine; by default, as many as this one has."
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory of a machine, for example 64GB; by default, as much as this one has."
        ),
    ] = None,
    graph_cache: Annotated[
        str | None,
        typer.Option(
            help="The server setting vector_similarity_index_cache_size of a machine, for example "
            "64GB; by default, half of the memory for one machine, and 5 GiB for several."
        ),
    ] = None,
    disk: Annotated[
        str | None,
        typer.Option(
            help="What the disk of a machine reads in a second, for example 3GB; by default, 1GB."
        ),
    ] = None,
    ef: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="The search width of HNSW graphs.")
    ] = costs.PLANNED_EF,
    json: options.Json = False,
) -> None:
    """Estimate disk, memory, load, build and query times of a table before it is loaded."""
    machines = Machines(
        cores or os.cpu_count() or 1,
        _memory_here() if memory is None else parse_bytes("--memory", memory),
        nodes,
        replicas,
        loaders,
        None if graph_cache is None else parse_bytes("--graph-cache", graph_cache),
    )
    collection = Collection(parse_count(rows), dim, modalities)
    plan = planning.make_plan(collection, machines, _speeds(disk), ef)
    if json:
        print(to_json(_document(plan)))
    else:
        _draw(plan)


def parse_count(text: str) -> int:
    """The number of rows in a text such as 400M. Raises QueryError if it is not a number."""
    return _parse(
        text, _COUNTS, f"--rows {text!r}: give a number such as 400M, 5.8B, 1e9 or 120000"
    )


def parse_bytes(option: str, text: str) -> int:
    """The bytes in a text such as 64GB or 24GiB. Raises QueryError if it is not a size."""
    return _parse(text, _SIZES, f"{option} {text!r}: give a size such as 64GB or 24GiB")


def _parse(text: str, units: dict[str, int], wanted: str) -> int:
    plain = re.sub(r"(?<=\d)[,_](?=\d{3}(?!\d))", "", text.strip())
    match = _NUMBER.fullmatch(plain)
    if match is None or match[2].lower() not in units:
        raise QueryError(wanted)
    return int(Decimal(match[1]) * units[match[2].lower()])


def _speeds(disk: str | None) -> Speeds:
    return Speeds() if disk is None else Speeds().with_disk(parse_bytes("--disk", disk))


def _memory_here() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _document(plan: TablePlan) -> dict[str, Any]:
    """The plan as JSON: bytes and seconds of each machine."""
    estimates = [
        asdict(estimate)
        | {"name": estimate.layout.name, "expected_seconds": estimate.expected_seconds}
        for estimate in plan.estimates
    ]
    return {
        "collection": asdict(plan.collection),
        "machines": asdict(plan.machines),
        "speeds": asdict(plan.speeds),
        "query": {
            "k": costs.PLANNED_K,
            "ef": plan.ef,
            "oversampling": costs.PLANNED_OVERSAMPLING,
        },
        "estimates": estimates,
        "recommended": plan.recommended,
        "recommendation": plan.recommendation,
    }


def _draw(plan: TablePlan) -> None:
    collection, machines = plan.collection, plan.machines
    share = plan.estimates[0].rows
    each = f", {share:,} rows on each of {machines.nodes:,} machines" if machines.nodes > 1 else ""
    each += f", every row on {machines.replicas}" if machines.replicas > 1 else ""
    embeddings = "image and text embeddings" if collection.modalities == 2 else "image embeddings"
    show.out.print(
        f"{collection.rows:,} rows, {embeddings} of {collection.dim} dimensions{each}; "
        f"{machines.cores} cores and {show.size(machines.memory_bytes)} of memory a machine"
    )
    cells = [_cells(estimate) for estimate in plan.estimates]
    show.table(HEADINGS, cells, right="lrrrrrrrrrrl")
    if machines.nodes > 1:
        show.out.print(
            f"Disk and memory are for each of the {machines.nodes:,} machines. A query asks "
            f"{machines.shards:,} shards and waits for the slowest."
        )
    show.out.print(
        "Bytes are within 25% of tables that were built. Times are estimates, scaled by cores from "
        f"a machine with 2, for a disk of {show.size(plan.speeds.disk_bytes)}/s.\n"
        f"A query is for {costs.PLANNED_K} rows, hnsw at ef {plan.ef:,}, codes at "
        f"{costs.PLANNED_OVERSAMPLING} times as many. To measure the recall on a table, run "
        "cliphouse recall."
    )
    show.out.print(f"Recommended: {plan.recommendation}")


def _cells(estimate: Estimate) -> list[str]:
    return [
        estimate.layout.name,
        show.size(estimate.disk_bytes),
        show.size(estimate.indexing_disk_bytes),
        show.size(estimate.memory_bytes),
        show.size(estimate.building_memory_bytes) if estimate.layout.index else "",
        show.size(estimate.cached_bytes),
        duration(estimate.load_seconds),
        duration(estimate.index_seconds) if estimate.layout.index else "",
        duration(estimate.query_seconds),
        f"{estimate.queries_per_second:,.2g}"
        if estimate.queries_per_second < 10
        else f"{estimate.queries_per_second:,.0f}",
        duration(estimate.disk_query_seconds),
        _mark(estimate),
    ]


def _mark(estimate: Estimate) -> str:
    if not estimate.fits:
        return "does not fit into memory"
    if estimate.outgrows_graph_cache:
        return "graph is larger than vector_similarity_index_cache_size"
    if not estimate.is_cached:
        return "read from disk"
    return "candidates read from disk" if estimate.rescores_from_disk else ""


def duration(seconds: float) -> str:
    """A time as text, from milliseconds to days."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 3600:
        return show.seconds(seconds)
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.1f} days"
