"""Plans a table before it is loaded: disk, memory and time of every layout.

The formulas are in ``costs``. Nothing here reads or writes anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cliphouse.errors import QueryError
from cliphouse.planning import costs
from cliphouse.planning.costs import ELEMENT_BYTES, Collection, Layout, Speeds
from cliphouse.search.methods import METHODS
from cliphouse.search.methods.hnsw import OWN
from cliphouse.vocabulary import Precision

BASE_MEMORY = 125_000_000  # of a process that builds, without its graph: 120 to 125 MB
USABLE_MEMORY = 0.9  # the engine's default max_server_memory_usage_to_ram_ratio
GRAPH_CACHE_BYTES = 5 * 2**30  # its default vector_similarity_index_cache_size
GRAPH_CACHE_OF_MEMORY = 0.5  # its default cache_size_to_ram_max_ratio
QUICK_SECONDS = 0.2  # if an exact search takes less, nothing approximate is recommended


@dataclass(frozen=True)
class Machines:
    """The machines of a plan: ``nodes`` equal ones, with ``cores`` and ``memory_bytes`` each.

    Every row is on ``replicas`` of them, so that nodes / replicas shards share the rows.
    ``loaders`` machines load at the same time (by default as many as ``nodes``).
    ``graph_cache_bytes`` is the configured size of an engine's cache of graphs. By default it is
    half of the memory of a single machine, and the engine's own 5 GiB on each of several.

    Raises QueryError if a number is out of range.
    """

    cores: int
    memory_bytes: int
    nodes: int = 1
    replicas: int = 1
    loaders: int | None = None
    graph_cache_bytes: int | None = None

    def __post_init__(self) -> None:
        named = {"nodes": self.nodes, "replicas": self.replicas, "cores": self.cores}
        for name, value in (named | {"loaders": self.loaders or self.nodes}).items():
            if value < 1:
                raise QueryError(f"{name} is {value}; it must be at least 1")
        if self.nodes % self.replicas:
            raise QueryError(
                f"nodes is {self.nodes} and replicas {self.replicas}: the nodes must be a multiple"
            )
        if self.memory_bytes < BASE_MEMORY:
            raise QueryError(f"memory is below the {BASE_MEMORY:,} bytes the engine itself needs")

    @property
    def shards(self) -> int:
        return self.nodes // self.replicas

    @property
    def graph_cache(self) -> int:
        """Bytes of graphs that stay in memory between searches. A single machine is assumed to run
        the embedded engine, whose cache is made large (cliphouse.engine.embedded)."""
        if self.graph_cache_bytes is not None:
            return self.graph_cache_bytes
        most = int(self.memory_bytes * GRAPH_CACHE_OF_MEMORY)
        return most if self.nodes == 1 else min(GRAPH_CACHE_BYTES, most)


@dataclass(frozen=True)
class Estimate:
    """The cost of a layout. Bytes are of one machine, which holds ``rows``. Seconds and
    ``queries_per_second`` (of as many concurrent queries as it takes) are of all together.

    Disk: ``indexing_disk_bytes`` is the peak of a build, because the merge into one part writes
    the table a second time; ``index_seconds`` include the merge. ``merged_parts`` are those that
    loading alone leaves; without the merge each would have its own graph.

    Memory: ``memory_bytes`` are needed to search, ``building_memory_bytes`` to build. The engine
    counts the loaded graphs as ``graph_cache_bytes``. ``query_seconds`` hold if the page cache also
    has ``cached_bytes``; ``disk_query_seconds`` hold if nothing is in memory.

    ``fits`` says whether it can be built and searched, and ``is_cached`` whether a query reads
    from memory. With ``rescores_from_disk``, the vectors of candidates are read from disk, which
    ``query_seconds`` include.
    """

    layout: Layout
    rows: int
    disk_bytes: int
    indexing_disk_bytes: int
    memory_bytes: int
    building_memory_bytes: int
    cached_bytes: int
    graph_bytes: int
    graph_cache_bytes: int
    merged_parts: int
    load_seconds: float
    index_seconds: float
    query_seconds: float
    disk_query_seconds: float
    queries_per_second: float
    fits: bool
    is_cached: bool
    rescores_from_disk: bool
    outgrows_graph_cache: bool

    @property
    def expected_seconds(self) -> float:
        return self.query_seconds if self.is_cached else self.disk_query_seconds


@dataclass(frozen=True)
class TablePlan:
    """The estimates of all layouts, and a recommendation in one sentence."""

    collection: Collection
    machines: Machines
    speeds: Speeds
    ef: int
    estimates: tuple[Estimate, ...]
    recommended: str | None
    recommendation: str


def make_plan(
    collection: Collection,
    machines: Machines,
    speeds: Speeds | None = None,
    ef: int = costs.PLANNED_EF,
) -> TablePlan:
    """Estimate every layout for ``collection`` on ``machines`` and recommend one. ``ef`` is the
    search width of graphs."""
    chosen = speeds or Speeds()
    estimates = tuple(
        estimate(layout, collection, machines, chosen, ef) for layout in layouts(collection)
    )
    best = recommend(estimates, machines)
    name = best.layout.name if best else None
    sentence = _advice(best, machines) if best else _more_machines(collection, machines, chosen)
    return TablePlan(collection, machines, chosen, ef, estimates, name, sentence)


def layouts(collection: Collection) -> Iterator[Layout]:
    """Every layout of the collection that a search method can use."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        for method in METHODS.values():
            for kept in method.kept(collection.modalities):
                yield Layout.keeping(precision, kept)


def estimate(
    layout: Layout,
    collection: Collection,
    machines: Machines,
    speeds: Speeds,
    ef: int = costs.PLANNED_EF,
) -> Estimate:
    """Estimate what ``layout`` costs on each machine."""
    share = replace(collection, rows=math.ceil(collection.rows / machines.shards))
    loaders = machines.loaders or machines.nodes
    loading = replace(collection, rows=math.ceil(collection.rows / loaders))
    table = costs.table_bytes(layout, share)
    graph = layout.index.memory_bytes(share.rows, share.dim) if layout.index else 0
    graphs = graph * layout.indexed
    weight = costs.cache_bytes(layout.index, share) * layout.indexed if layout.index else 0
    memory = BASE_MEMORY + graphs + costs.key_bytes(share)
    cached = costs.searched_bytes(layout, share)
    usable = int(machines.memory_bytes * USABLE_MEMORY)
    fits = memory <= usable
    is_cached = fits and memory + cached <= usable and weight <= machines.graph_cache
    rescored = costs.rescored_bytes(layout, share)
    column = costs.searched_bytes(Layout(layout.precision), share)
    from_disk = rescored > 0 and memory + cached + column > usable
    rescoring = rescored / speeds.disk_bytes if from_disk else 0.0
    in_memory = costs.query_seconds(layout, share, machines.cores, speeds, ef)
    cold = in_memory + costs.from_disk_seconds(layout, share, speeds)
    at_once = machines.cores / costs.busy_cores(layout, share, machines.cores)
    rate = min(at_once / in_memory, 1 / rescoring if from_disk else math.inf)
    files = costs.graph_disk_bytes(layout.index, share) * layout.indexed if layout.index else 0
    return Estimate(
        layout,
        share.rows,
        disk_bytes=table + files,
        indexing_disk_bytes=2 * table + files if layout.index else table,
        memory_bytes=memory,
        building_memory_bytes=BASE_MEMORY + graph,
        cached_bytes=cached,
        graph_bytes=graphs,
        graph_cache_bytes=weight,
        merged_parts=costs.merged_parts(layout, share),
        load_seconds=costs.load_seconds(layout, loading, share, speeds),
        index_seconds=_index_seconds(layout, share, machines.cores, speeds),
        query_seconds=costs.cluster_seconds(in_memory + rescoring, machines.shards, speeds),
        disk_query_seconds=costs.cluster_seconds(cold, machines.shards, speeds),
        queries_per_second=machines.replicas * (rate if is_cached else 1 / cold),
        fits=fits,
        is_cached=is_cached,
        rescores_from_disk=from_disk,
        outgrows_graph_cache=weight > machines.graph_cache,
    )


def _index_seconds(layout: Layout, share: Collection, cores: int, speeds: Speeds) -> float:
    if layout.index is None:
        return 0.0
    building = layout.indexed * costs.index_seconds(layout.index, share, cores, speeds)
    return building + costs.merge_seconds(layout, share, speeds)


def recommend(estimates: Sequence[Estimate], machines: Machines) -> Estimate | None:
    """Recommend a layout: the first of these that is good enough.

    1. Exact search if it is quick, with Float32 before BFloat16.
    2. A graph with the project's own parameters on the image embeddings: with Float32 if the
       embeddings stay in memory too, for exact answers, else with BFloat16.
    3. Codes.

    None if no layout can be searched from memory.
    """
    by_layout: dict[Layout, Estimate] = {}
    for one in estimates:
        by_layout.setdefault(one.layout, one)
    for element in ELEMENT_BYTES:
        exact = by_layout[Layout(element)]
        if exact.is_cached and exact.query_seconds <= QUICK_SECONDS:
            return exact
    graph = by_layout[Layout("float32", index=OWN, indexed=1)]
    beside = graph.memory_bytes + by_layout[Layout("float32")].cached_bytes
    if beside > machines.memory_bytes * USABLE_MEMORY:
        graph = by_layout[Layout("bfloat16", index=OWN, indexed=1)]
    if graph.fits:
        return graph
    codes = by_layout[Layout("bfloat16", codes="rabitq")]
    return codes if codes.is_cached else None


def _advice(best: Estimate, machines: Machines) -> str:
    name = best.layout.name
    if best.layout.index and best.outgrows_graph_cache:
        of_memory = best.graph_cache_bytes / machines.memory_bytes
        ratio = (
            f" and cache_size_to_ram_max_ratio above {of_memory:.2f}"
            if of_memory > GRAPH_CACHE_OF_MEMORY
            else ""
        )
        return (
            f"{name}: fast only once vector_similarity_index_cache_size is raised above "
            f"{best.graph_cache_bytes / 1e9:,.1f} GB{ratio} on the server (plan for it with "
            "--graph-cache); until then every search reads the graph again."
        )
    if best.layout.index:
        return f"{name}: an exact search would be slow; measure the recall before relying on it."
    if best.layout.codes:
        return (
            f"{name}: a graph does not fit into memory and codes do; measure the recall of text "
            "queries, for which codes are worst."
        )
    if best.layout.precision == "bfloat16":
        return f"{name}: half of Float32's bytes, and nothing else is lost."
    return f"{name}: exact search is quick enough."


def _more_machines(collection: Collection, machines: Machines, speeds: Speeds) -> str:
    """Say how many machines of this kind are enough; found by doubling, then by bisection."""

    def is_enough(shards: int) -> bool:
        wider = replace(machines, nodes=shards * machines.replicas)
        found = [estimate(one, collection, wider, speeds) for one in layouts(collection)]
        return recommend(found, wider) is not None

    enough = machines.shards + 1
    while not is_enough(enough):
        enough *= 2
    low = machines.shards
    while enough - low > 1:
        middle = (low + enough) // 2
        low, enough = (low, middle) if is_enough(middle) else (middle, enough)
    return (
        "no layout can be searched from memory on these machines: use more memory, or --nodes "
        f"{enough * machines.replicas:,} like them."
    )
