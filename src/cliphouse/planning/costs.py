"""The formulas of a plan: bytes and seconds of a layout for a collection.

Bytes follow from the formats; tests compare them with tables that the engine built. Times are
scaled from the figures in Speeds; ``benchmarks/plan.py`` compares them with measured ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Literal

from cliphouse.errors import QueryError
from cliphouse.schema.columns import GRANULE_ROWS
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.methods.exact import READER_ROWS
from cliphouse.search.methods.hnsw import candidates_of
from cliphouse.search.methods.method import Kept
from cliphouse.vocabulary import Precision

Codes = Literal["rabitq", "turboquant"]

# Bytes a row on disk: id, url, caption and the rest after compression, measured on 100,000 rows of
# LAION's lengths. An array also stores its length.
METADATA_BYTES = 90
# Bytes of marks on disk and of primary key in memory for each granule: every column has a mark, and
# the key is an id (docs/benchmarks/layout.md).
MARK_BYTES = 28
KEY_BYTES = 8
ARRAY_BYTES = 8
ELEMENT_BYTES: dict[Precision, int] = {"float32": 4, "bfloat16": 2}
# Bits of a code for each dimension; a code also has 4 bytes of scale. Measured with the Quantized
# codec.
CODE_BITS: dict[Codes, int] = {"rabitq": 1, "turboquant": 2}
CODE_SCALE_BYTES = 4
# The engine compresses a graph's file: bf16 graphs of M 32 and 64 over 5,000 to 100,000 rows
# took 918 to 1,227 bytes a row on disk, and 1,280 and 1,536 in memory.
VECTORS_ON_DISK = 0.9
LINKS_ON_DISK = 0.5
# The engine counts a loaded graph by the memory reserved for it. That is in pieces of 8, 16, 32 ...
# MiB for the vectors, the same for the links with 20 bytes a row, and a pointer for each row.
# Measured on graphs of 10,000 to 60,000 rows.
FIRST_PIECE = 8 * 2**20
NODE_BYTES = 20
POINTER_BYTES = 8

CACHED_BYTES = 16 * 2**20  # of a graph that the processor's cache holds while it is built
_FLAT_DOUBLINGS = 8  # of rows among which an insertion compares nearly all
BUILD_THREADS = 16  # its default max_build_vector_similarity_index_thread_pool_size
# Up to UNMERGED_BYTES, some 500 parts of 80 MB, parts stay as a load inserted them. Larger tables
# are merged LOAD_MERGES times, a dozen parts together, up to parts of MERGED_BYTES (assumed).
UNMERGED_BYTES = 40_000_000_000
MERGED_BYTES = 150 * 2**30  # the engine's default max_bytes_to_merge_at_max_space_in_pool
LOAD_MERGES = 3

PLANNED_K = 10
PLANNED_EF = 1024
PLANNED_OVERSAMPLING = 20
ANSWER_BYTES = 400  # a row of an answer: id, distance, url, caption and the rest


@dataclass(frozen=True)
class Speeds:
    """The speeds of one machine: AMD EPYC, 2 cores, 24 GiB, a virtual disk; embedded engine.

    Loading, in seconds: the slope of docs/benchmarks/ingest.json between 100,000 and 1,000,000 rows
    of 2 x 512 elements (on 2 cores; more would not speed up this pipeline), and a start between
    that benchmark's and docs/benchmarks/plan.json's. How the time divides between a row and its
    elements is assumed.

    ``scan_bytes``, ``code_bytes`` and ``search_start`` are fitted to search.json (10,000 to
    1,000,000 rows), as are ``graph_start``, ``visit`` and ``spread`` (100,000 and 1,000,000 rows,
    widths of 256 to 4096; smaller graphs, which the processor's caches hold, are faster).
    ``rescore_row`` is fitted to earlier measurements on such a machine that are not committed;
    ``place`` and ``code_element`` are set by plan.json (20,000 and 100,000 rows), ``merge_bytes``
    by a merge of 1.2 GB in one thread. ``disk_bytes``
    is a round figure (the disk here gave 0.2 to 4e9) and ``graph_load_bytes`` half of it, assumed.
    Also assumed, since this machine has neither, are the ``memory_bytes`` that all cores of a
    server read together, and a cluster's network: ``round_trip`` (with the start of a remote
    statement) and ``network_bytes`` (10 Gbit/s).

    All are of one core if a step uses several. Rates are bytes a second, the others seconds:
    ``code_element`` to encode one number, ``rescore_row`` to compare one candidate, ``visit`` one
    step of a search in a graph, for each unit of ef and each doubling of the rows, ``place`` one
    step of a build (see index_steps). ``spread`` is the standard deviation of the logarithm of a
    search's time, from its 95th percentile over its median.
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
        default_factory=lambda: {"float32": 9e9, "bfloat16": 6.1e9}
    )
    code_bytes: dict[Codes, float] = field(
        default_factory=lambda: {"rabitq": 1.5e9, "turboquant": 2.1e9}
    )
    rescore_row: float = 2e-5
    disk_bytes: float = 1e9
    graph_load_bytes: float = 5e8
    place: float = 5.2e-7
    search_start: float = 0.006
    graph_start: float = 0.008
    visit: float = 5.5e-7
    spread: float = 0.113
    merge_bytes: float = 3.1e8
    memory_bytes: float = 2e11
    round_trip: float = 2e-3
    network_bytes: float = 1.25e9

    def with_disk(self, disk_bytes: float) -> Speeds:
        """The same speeds with another disk; graphs are loaded at half its rate.

        Raises QueryError if the rate is not positive.
        """
        if disk_bytes <= 0:
            raise QueryError(f"disk is {disk_bytes:g} bytes a second; it must be more than 0")
        return replace(self, disk_bytes=disk_bytes, graph_load_bytes=disk_bytes / 2)


@dataclass(frozen=True)
class Collection:
    """What a table will hold: for each row ``modalities`` embeddings (image, or image and text) of
    ``dim`` dimensions.

    Raises QueryError if a number is out of range.
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
class Layout:
    """A way to store a table: its precision, and codes of every embedding or graphs on ``indexed``
    modalities. ``label`` describes it for people."""

    precision: Precision
    codes: Codes | None = None
    index: IndexSpec | None = None
    indexed: int = 0
    label: str = field(default="exact", compare=False)

    @classmethod
    def keeping(cls, precision: Precision, kept: Kept) -> Layout:
        """The layout of a table that stores ``kept`` for a search method."""
        return cls(precision, kept.codes, kept.index, kept.indexed, kept.label)

    @property
    def name(self) -> str:
        element = {"float32": "Float32", "bfloat16": "BFloat16"}[self.precision]
        return f"{element}, {self.label}"


def table_bytes(layout: Layout, share: Collection) -> int:
    """Bytes on disk of metadata, embeddings, codes and marks; embeddings are not compressed."""
    embedding = _vector_bytes(layout, share) + code_bytes(layout.codes, share.dim)
    return share.rows * (METADATA_BYTES + share.modalities * embedding) + mark_bytes(share)


def mark_bytes(share: Collection) -> int:
    """Bytes on disk of the marks, by which the engine finds a granule of a column."""
    return _granules(share) * MARK_BYTES


def key_bytes(share: Collection) -> int:
    """Bytes in memory of the primary key: the first id of each granule."""
    return _granules(share) * KEY_BYTES


def _granules(share: Collection) -> int:
    return math.ceil(share.rows / GRANULE_ROWS)


def code_bytes(codes: Codes | None, dim: int) -> int:
    """Bytes of a vector's code: dim bits (rabitq) or 2 dim bits (turboquant), and a scale."""
    return math.ceil(dim * CODE_BITS[codes] / 8) + CODE_SCALE_BYTES if codes else 0


def graph_disk_bytes(index: IndexSpec, share: Collection) -> int:
    """Bytes of a graph's file: vectors and links as in IndexSpec.memory_bytes, compressed."""
    links = share.rows * 8 * index.m
    vectors = index.memory_bytes(share.rows, share.dim) - links
    return int(VECTORS_ON_DISK * vectors + LINKS_ON_DISK * links)


def cache_bytes(index: IndexSpec, share: Collection) -> int:
    """Bytes that the engine counts for a graph in its cache: up to twice the graph's memory."""
    links = share.rows * 8 * index.m
    vectors = index.memory_bytes(share.rows, share.dim) - links
    pieces = _reserved(vectors) + _reserved(links + share.rows * NODE_BYTES)
    return pieces + share.rows * POINTER_BYTES


def _reserved(used: int) -> int:
    """Bytes reserved for ``used`` bytes: 1, 3, 7, 15 ... times FIRST_PIECE."""
    pieces = math.ceil(used / FIRST_PIECE)
    return FIRST_PIECE * ((1 << pieces.bit_length()) - 1)


def searched_bytes(layout: Layout, share: Collection) -> int:
    """Bytes that a search of one modality scans."""
    if layout.index:
        return 0  # a graph is not scanned; rescored_bytes are read
    if layout.codes:
        return share.rows * code_bytes(layout.codes, share.dim)
    return share.rows * _vector_bytes(layout, share)


def rescored_bytes(layout: Layout, share: Collection) -> int:
    """Bytes that a search by a graph or by codes reads to compare its candidates exactly: a whole
    granule for each, since the engine reads no less."""
    if layout.index is not None:
        candidates = candidates_of(layout.index.quantization, PLANNED_K)
    elif layout.codes is not None:
        candidates = PLANNED_K * PLANNED_OVERSAMPLING
    else:
        return 0
    return min(share.rows, candidates * GRANULE_ROWS) * _vector_bytes(layout, share)


def _vector_bytes(layout: Layout, share: Collection) -> int:
    return share.dim * ELEMENT_BYTES[layout.precision] + ARRAY_BYTES


def load_seconds(layout: Layout, loading: Collection, share: Collection, speeds: Speeds) -> float:
    """Until the slowest is through: a loading machine with its part of the rows, ``loading``, or
    the disk of a machine that takes ``share``, merges included."""
    elements = loading.rows * loading.modalities * loading.dim
    coding = elements * speeds.code_element[layout.codes] if layout.codes else 0.0
    storing = elements * speeds.load_element[layout.precision]
    sending = speeds.load_start + loading.rows * speeds.load_row + storing + coding
    return max(sending, written_bytes(layout, share) / speeds.disk_bytes)


def written_bytes(layout: Layout, share: Collection) -> int:
    """What a machine writes while it is loaded: the table, and again with every merge."""
    table = table_bytes(layout, share)
    return table * (1 + LOAD_MERGES) if table > UNMERGED_BYTES else table


def merge_seconds(layout: Layout, share: Collection, speeds: Speeds) -> float:
    """Seconds to merge the table into one part, in one thread. That a table of one batch needs no
    merge is ignored."""
    return table_bytes(layout, share) / speeds.merge_bytes


def merged_parts(layout: Layout, share: Collection) -> int:
    """The fewest parts after the engine's own merges; OPTIMIZE FINAL makes one of them."""
    return math.ceil(table_bytes(layout, share) / MERGED_BYTES)


def index_seconds(index: IndexSpec, share: Collection, cores: int, speeds: Speeds) -> float:
    """Seconds to build one graph."""
    return index_steps(index, share) * speeds.place / min(cores, BUILD_THREADS)


def index_steps(index: IndexSpec, share: Collection) -> float:
    """The steps of building one graph, as long as one in the processor's cache.

    Each row is inserted by a search of width ef_construction. The vectors that it compares grow
    with the logarithm of the rows (Malkov and Yashunin 2016, 4.2), from a few hundred rows on;
    a step to a vector that is not in the cache takes twice the time. Counted (790 vectors among
    1,000 rows, 3,370 among 24,000) and fitted to builds of 1,000 to 100,000 rows, whose time for
    each step was the same within a fifth.
    """
    depth = max(1.0, math.log2(share.rows) - _FLAT_DOUBLINGS)
    cached = min(1.0, CACHED_BYTES / index.memory_bytes(share.rows, share.dim))
    return share.rows * index.ef_construction * depth * (2 - cached) * share.dim / 512


def query_seconds(
    layout: Layout, share: Collection, cores: int, speeds: Speeds, ef: int = PLANNED_EF
) -> float:
    """Seconds of a query for PLANNED_K rows on one machine, with everything it reads in memory."""
    if layout.index:
        steps = ef * math.log2(share.rows + 1)
        return speeds.graph_start + steps * speeds.visit * share.dim / 512
    readers = busy_cores(layout, share, cores)
    scanned = searched_bytes(layout, share)
    if layout.codes:
        rescored = min(share.rows, PLANNED_OVERSAMPLING * PLANNED_K)
        rate = readers * speeds.code_bytes[layout.codes]
        seconds = scanned / min(rate, speeds.memory_bytes) + rescored * speeds.rescore_row
    else:
        rate = readers * speeds.scan_bytes[layout.precision]
        seconds = scanned / min(rate, speeds.memory_bytes)
    return speeds.search_start + seconds


def busy_cores(layout: Layout, share: Collection, cores: int) -> int:
    """Cores that a query uses: one in a graph, and in a scan one for each READER_ROWS rows."""
    return 1 if layout.index else min(cores, math.ceil(share.rows / READER_ROWS))


def cluster_seconds(seconds: float, shards: int, speeds: Speeds) -> float:
    """Seconds of a query of several shards together, each of which takes ``seconds`` in the median.

    It is the median time of the slowest shard, if the logarithm of a time is normally distributed
    with ``spread``, and the network's time to bring PLANNED_K rows from each shard.
    """
    if shards == 1:
        return seconds
    slowest = math.exp(speeds.spread * NormalDist().inv_cdf(0.5 ** (1 / shards)))
    answers = shards * PLANNED_K * ANSWER_BYTES / speeds.network_bytes
    return seconds * slowest + speeds.round_trip + answers


def from_disk_seconds(layout: Layout, share: Collection, speeds: Speeds) -> float:
    """Additional seconds of a query if nothing is in memory: it reads what it scans, or the graph,
    and the candidates."""
    read = searched_bytes(layout, share) + rescored_bytes(layout, share)
    graph = graph_disk_bytes(layout.index, share) if layout.index else 0
    return read / speeds.disk_bytes + graph / speeds.graph_load_bytes
