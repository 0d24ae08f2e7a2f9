"""What a table will cost before there is one: disk, memory and time of every layout.

Bytes follow from the formats and are tested against tables the engine built. Times are scaled from
the figures in Speeds; ``benchmarks/plan.py`` compares them with measured ones. Nothing here reads
or writes anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cliphouse.errors import QueryError
from cliphouse.table.index import IndexSpec
from cliphouse.table.schema import Precision

Codes = Literal["rabitq", "turboquant"]

# Bytes a row on disk: id, url, caption and the rest after compression, measured on rows of LAION's
# lengths (37 to 47 in tables of 100,000 to 5,000 rows). An array keeps its length beside it.
METADATA_BYTES = 42
ARRAY_BYTES = 8
ELEMENT_BYTES: dict[Precision, int] = {"float32": 4, "bfloat16": 2}
# A code has so many bits a dimension, and 4 bytes of scale; measured with the Quantized codec.
CODE_BITS: dict[Codes, int] = {"rabitq": 1, "turboquant": 2}
CODE_SCALE_BYTES = 4
# The engine compresses a graph's file: bf16 graphs of M 32 and 64 over 5,000 to 100,000 rows
# took 918 to 1,227 bytes a row of the 1,280 and 1,536 they have in memory.
VECTORS_ON_DISK = 0.9
LINKS_ON_DISK = 0.5

BASE_MEMORY = 125_000_000  # a process that builds, without its graph: 120 to 125 MB
USABLE_MEMORY = 0.9  # the engine's default max_server_memory_usage_to_ram_ratio
GRAPH_CACHE_BYTES = 5 * 2**30  # its default vector_similarity_index_cache_size
GRAPH_CACHE_OF_MEMORY = 0.5  # its default cache_size_to_ram_max_ratio
BUILD_THREADS = 16  # its default max_build_vector_similarity_index_thread_pool_size
ROWS_A_READER = 163_840  # its default merge_tree_min_rows_for_concurrent_read

PLANNED_K = 10
PLANNED_EF = 1024
PLANNED_OVERSAMPLING = 20
QUICK_SECONDS = 0.2  # an exact search below this needs nothing approximate
_OWN = IndexSpec()
_GUIDE = IndexSpec(m=64, ef_construction=256)


@dataclass(frozen=True)
class Speeds:
    """What one machine did: AMD EPYC, 2 cores, 24 GiB, a virtual disk; embedded engine.

    Loading, in seconds: the slope of docs/benchmarks/ingest.json between 100,000 and 1,000,000 rows
    of 2 x 512 elements (2 cores; it is a pipeline that more would not speed up), and a start that
    lies between that benchmark's and docs/benchmarks/plan.json's. How it divides between a row and
    its elements is assumed.

    ``scan_bytes``, ``code_bytes``, ``rescore_row`` and ``search_start`` are fitted to earlier
    measurements on such a machine that are not committed, and agree with docs/benchmarks/plan.json
    and search.json; ``place`` and ``code_element`` are set by plan.json (20,000 and 100,000 rows),
    ``visit`` by search.json (100,000 and 1,000,000 rows). ``disk_bytes`` is a round figure (the
    disk here gave 0.2 to 4e9) and ``graph_load_bytes`` half of it, assumed.

    All are of one core where a step spreads over the cores. Rates are bytes a second, the rest
    seconds: ``code_element`` to code one number, ``rescore_row`` to look at one candidate,
    ``visit`` one step of a search in a graph, for each unit of ef and each doubling of the rows,
    ``place`` the like for placing a row, for each unit of ef_construction.
    """

    load_start: float = 1.05
    load_row: float = 1.0e-6
    load_element: dict[Precision, float] = field(
        default_factory=lambda: {"float32": 9.9e-9, "bfloat16": 7.6e-9}
    )
    code_element: dict[Codes, float] = field(
        default_factory=lambda: {"rabitq": 1.2e-8, "turboquant": 2.2e-8}
    )
    scan_bytes: dict[Precision, float] = field(
        default_factory=lambda: {"float32": 8.5e9, "bfloat16": 5.3e9}
    )
    code_bytes: dict[Codes, float] = field(
        default_factory=lambda: {"rabitq": 4.2e8, "turboquant": 7e8}
    )
    rescore_row: float = 2e-5
    disk_bytes: float = 1e9
    graph_load_bytes: float = 5e8
    place: float = 4.2e-7
    search_start: float = 0.005
    visit: float = 1e-6


@dataclass(frozen=True)
class Collection:
    """What is to be kept: ``modalities`` embeddings a row (image, or image and text) of ``dim``.

    Raises QueryError where a number is out of range.
    """

    rows: int
    dim: int = 512
    modalities: int = 2

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise QueryError(f"rows is {self.rows}; it must be at least 1")
        if self.dim < 1:
            raise QueryError(f"dim is {self.dim}; it must be at least 1")
        if self.modalities not in (1, 2):
            raise QueryError(f"modalities is {self.modalities}; it must be 1 (image) or 2")


@dataclass(frozen=True)
class Machines:
    """``nodes`` alike machines, each with a shard of the rows, and each with so many cores and so
    many bytes of memory. Raises QueryError where a number is out of range."""

    cores: int
    memory_bytes: int
    nodes: int = 1

    def __post_init__(self) -> None:
        for name, value in (("nodes", self.nodes), ("cores", self.cores)):
            if value < 1:
                raise QueryError(f"{name} is {value}; it must be at least 1")
        if self.memory_bytes < BASE_MEMORY:
            raise QueryError(f"memory is below the {BASE_MEMORY:,} bytes the engine itself takes")


@dataclass(frozen=True)
class Layout:
    """A way to keep a table: precision, codes on every embedding, or a graph on ``indexed``
    modalities."""

    precision: Precision
    codes: Codes | None = None
    index: IndexSpec | None = None
    indexed: int = 0

    @property
    def name(self) -> str:
        element = {"float32": "Float32", "bfloat16": "BFloat16"}[self.precision]
        if self.codes:
            return f"{element}, {self.codes}"
        if self.index is None:
            return f"{element}, exact"
        which = "image" if self.indexed == 1 else "both"
        return f"{element}, hnsw {self.index.m}/{self.index.ef_construction} {which}"


@dataclass(frozen=True)
class Estimate:
    """A layout on each machine. Bytes and seconds are of one machine, which holds ``rows``.

    ``indexing_disk_bytes`` is the most while the index is built: merging into one part writes the
    table once more. ``memory_bytes`` must be there to search, ``building_memory_bytes`` to build;
    ``cached_bytes`` is what the page cache has to hold besides, for ``query_seconds`` to be true.
    ``disk_query_seconds`` is a query that finds nothing in memory. ``fits``: whether it can be
    built and searched. ``is_cached``: whether a query goes at the speed of memory.
    """

    layout: Layout
    rows: int
    disk_bytes: int
    indexing_disk_bytes: int
    memory_bytes: int
    building_memory_bytes: int
    cached_bytes: int
    graph_bytes: int
    load_seconds: float
    index_seconds: float
    query_seconds: float
    disk_query_seconds: float
    fits: bool
    is_cached: bool
    outgrows_graph_cache: bool

    @property
    def expected_seconds(self) -> float:
        return self.query_seconds if self.is_cached else self.disk_query_seconds


@dataclass(frozen=True)
class TablePlan:
    """Every layout's estimate, and one sentence of advice."""

    collection: Collection
    machines: Machines
    estimates: tuple[Estimate, ...]
    recommended: str | None
    recommendation: str


def make_plan(
    collection: Collection, machines: Machines, speeds: Speeds | None = None
) -> TablePlan:
    """Estimate every layout for ``collection`` on ``machines`` and recommend one."""
    chosen = speeds or Speeds()
    estimates = tuple(
        estimate(layout, collection, machines, chosen) for layout in layouts(collection)
    )
    best = recommend(estimates, machines)
    name = best.layout.name if best else None
    sentence = _advice(best) if best else _more_machines(collection, machines, chosen)
    return TablePlan(collection, machines, estimates, name, sentence)


def layouts(collection: Collection) -> Iterator[Layout]:
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    codes: tuple[Codes, ...] = ("rabitq", "turboquant")
    for precision in precisions:
        yield Layout(precision)
        for kind in codes:
            yield Layout(precision, codes=kind)
        for index in (_OWN, _GUIDE):
            for indexed in range(1, collection.modalities + 1):
                yield Layout(precision, index=index, indexed=indexed)


def estimate(
    layout: Layout, collection: Collection, machines: Machines, speeds: Speeds
) -> Estimate:
    """What ``layout`` costs on each machine."""
    share = replace(collection, rows=math.ceil(collection.rows / machines.nodes))
    table = table_bytes(layout, share)
    graph = layout.index.memory_bytes(share.rows, share.dim) if layout.index else 0
    graphs = graph * layout.indexed
    graphs_disk = graph_disk_bytes(layout.index, share) * layout.indexed if layout.index else 0
    cached = searched_bytes(layout, share)
    usable = int(machines.memory_bytes * USABLE_MEMORY)
    memory = BASE_MEMORY + graphs
    query = query_seconds(layout, share, machines.cores, speeds)
    cache = min(GRAPH_CACHE_BYTES, int(machines.memory_bytes * GRAPH_CACHE_OF_MEMORY))
    fits = memory <= usable
    return Estimate(
        layout,
        share.rows,
        disk_bytes=table + graphs_disk,
        indexing_disk_bytes=2 * table + graphs_disk if layout.index else table,
        memory_bytes=memory,
        building_memory_bytes=BASE_MEMORY + graph,
        cached_bytes=cached,
        graph_bytes=graphs,
        load_seconds=load_seconds(layout, share, speeds),
        index_seconds=layout.indexed * index_seconds(layout.index, share, machines.cores, speeds)
        if layout.index
        else 0.0,
        query_seconds=query,
        disk_query_seconds=query + from_disk_seconds(layout, share, speeds),
        fits=fits,
        is_cached=fits and memory + cached <= usable and graphs <= cache,
        outgrows_graph_cache=graphs > cache,
    )


def table_bytes(layout: Layout, share: Collection) -> int:
    """Disk of metadata, embeddings and codes; embeddings are kept uncompressed."""
    embedding = share.dim * ELEMENT_BYTES[layout.precision] + ARRAY_BYTES
    embedding += code_bytes(layout.codes, share.dim)
    return share.rows * (METADATA_BYTES + share.modalities * embedding)


def code_bytes(codes: Codes | None, dim: int) -> int:
    """Bytes of a vector's code: dim bits of rabitq or 2 dim of turboquant, and a scale."""
    return math.ceil(dim * CODE_BITS[codes] / 8) + CODE_SCALE_BYTES if codes else 0


def graph_disk_bytes(index: IndexSpec, share: Collection) -> int:
    """One graph's file: its vectors and links as in IndexSpec.memory_bytes, compressed."""
    links = share.rows * 8 * index.m
    vectors = index.memory_bytes(share.rows, share.dim) - links
    return int(VECTORS_ON_DISK * vectors + LINKS_ON_DISK * links)


def searched_bytes(layout: Layout, share: Collection) -> int:
    """What a search of one modality reads of the table, all of it or row by row."""
    if layout.index:
        return 0  # the rows it rescores: a few megabytes
    if layout.codes:
        return share.rows * code_bytes(layout.codes, share.dim)
    return share.rows * (share.dim * ELEMENT_BYTES[layout.precision] + ARRAY_BYTES)


def load_seconds(layout: Layout, share: Collection, speeds: Speeds) -> float:
    elements = share.rows * share.modalities * share.dim
    coding = elements * speeds.code_element[layout.codes] if layout.codes else 0.0
    storing = elements * speeds.load_element[layout.precision]
    return speeds.load_start + share.rows * speeds.load_row + storing + coding


def index_seconds(index: IndexSpec, share: Collection, cores: int, speeds: Speeds) -> float:
    """Building one graph: each row is placed by a search of width ef_construction, whose length
    grows with the logarithm of the rows (Malkov and Yashunin 2016, 4.2)."""
    steps = share.rows * index.ef_construction * math.log2(share.rows + 1)
    return steps * speeds.place * share.dim / 512 / min(cores, BUILD_THREADS)


def query_seconds(layout: Layout, share: Collection, cores: int, speeds: Speeds) -> float:
    """One query of PLANNED_K rows with all it needs in memory."""
    if layout.index:
        steps = PLANNED_EF * math.log2(share.rows + 1)
        return speeds.search_start + steps * speeds.visit * share.dim / 512
    readers = min(cores, math.ceil(share.rows / ROWS_A_READER))
    scanned = searched_bytes(layout, share)
    if layout.codes:
        rescored = min(share.rows, PLANNED_OVERSAMPLING * PLANNED_K)
        seconds = (
            scanned / speeds.code_bytes[layout.codes] / readers + rescored * speeds.rescore_row
        )
    else:
        seconds = scanned / speeds.scan_bytes[layout.precision] / readers
    return speeds.search_start + seconds


def from_disk_seconds(layout: Layout, share: Collection, speeds: Speeds) -> float:
    """What a query takes longer where nothing is in memory: reading what it scans, or the graph."""
    if layout.index:
        return graph_disk_bytes(layout.index, share) / speeds.graph_load_bytes
    return searched_bytes(layout, share) / speeds.disk_bytes


def recommend(estimates: Sequence[Estimate], machines: Machines) -> Estimate | None:
    """The first of these: exact where that is quick, Float32 before BFloat16; a graph of our own
    parameters on the image embeddings; codes. Float32 under a graph only where its embeddings stay
    in memory too, for exact answers. None where nothing answers from memory.
    """
    by_layout = {estimate.layout: estimate for estimate in estimates}
    for element in ELEMENT_BYTES:
        exact = by_layout[Layout(element)]
        if exact.is_cached and exact.query_seconds <= QUICK_SECONDS:
            return exact
    graph = by_layout[Layout("float32", index=_OWN, indexed=1)]
    beside = graph.memory_bytes + by_layout[Layout("float32")].cached_bytes
    if beside > machines.memory_bytes * USABLE_MEMORY:
        graph = by_layout[Layout("bfloat16", index=_OWN, indexed=1)]
    if graph.fits:
        return graph
    codes = by_layout[Layout("bfloat16", codes="rabitq")]
    return codes if codes.is_cached else None


def _advice(best: Estimate) -> str:
    name = best.layout.name
    if best.layout.index and best.outgrows_graph_cache:
        return (
            f"{name}: fast only once vector_similarity_index_cache_size is raised above "
            f"{best.graph_bytes / 1e9:,.1f} GB on the server; until then every search reads the "
            "graph again."
        )
    if best.layout.index:
        return f"{name}: an exact search would be slow; measure the recall before relying on it."
    if best.layout.codes:
        return (
            f"{name}: a graph does not fit into memory and codes do; measure the recall of text "
            "queries, which codes serve worst."
        )
    if best.layout.precision == "bfloat16":
        return f"{name}: half of Float32's bytes, and nothing else is given up."
    return f"{name}: quick enough with nothing approximate."


def _more_machines(collection: Collection, machines: Machines, speeds: Speeds) -> str:
    """How many machines of this kind would do, by doubling and halving the search for them."""

    def is_enough(nodes: int) -> bool:
        wider = replace(machines, nodes=nodes)
        found = [estimate(one, collection, wider, speeds) for one in layouts(collection)]
        return recommend(found, wider) is not None

    enough = machines.nodes + 1
    while not is_enough(enough):
        enough *= 2
    low = machines.nodes
    while enough - low > 1:
        middle = (low + enough) // 2
        low, enough = (low, middle) if is_enough(middle) else (middle, enough)
    return (
        "nothing answers from memory on these machines: take more memory, or --nodes "
        f"{enough:,} like them."
    )
