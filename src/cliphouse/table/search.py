"""Search: the k rows nearest to a vector, exactly or through the HNSW index, and how."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, overload

from cliphouse.errors import QueryError
from cliphouse.table.connection import Connection, identifier
from cliphouse.table.schema import (
    Modality,
    TableInfo,
    embedding_column,
)
from cliphouse.table.vector import QueryVector, decode_expression, encode_parameter

Metric = Literal["cosine", "l2"]
Mode = Literal["auto", "exact", "hnsw"]
METRICS: tuple[Metric, ...] = ("cosine", "l2")
MODES: tuple[Mode, ...] = ("auto", "exact", "hnsw")

DISTANCE = {"cosine": "cosineDistance", "l2": "L2Distance"}
DEFAULT_EF = 256  # the engine's own default for hnsw_candidate_list_size_for_search
TARGET_RECALL = 0.95
_ENGINE_MAX_LIMIT = 1000  # the engine's default for max_limit_for_vector_search_queries

# Reading mapped pages without checksums halves an exact search (docs/benchmarks); only the
# embedded engine may be told so, since a server's disks are its own matter.
_EMBEDDED_READ: dict[str, int | str] = {
    "local_filesystem_read_method": "mmap",
    "min_bytes_to_use_mmap_io": 1,
    "checksum_on_read": 0,
}
_DETAILS = ("url", "caption", "NSFW", "width", "height", "license")


@dataclass(frozen=True)
class Hit:
    """A found row. ``distance`` is to the query, in the search's metric; ``similarity`` is the
    cosine similarity to the query; ``pair_similarity`` that of the row's own picture and caption
    (the table's column similarity, NaN where unknown)."""

    id: int
    similarity: float
    distance: float
    url: str = ""
    caption: str = ""
    NSFW: str = ""
    pair_similarity: float = float("nan")
    width: int = 0
    height: int = 0
    license: str = ""


@dataclass(frozen=True)
class SearchStats:
    """How a search was done. ``recall`` is the measured recall@k of this way for this kind of
    query (1.0 for exact, None where it was not measured); times are in milliseconds."""

    mode: str
    ef: int | None
    recall: float | None
    reason: str
    metric: str
    modality: str
    query: str
    k: int
    encode_ms: float
    search_ms: float


@dataclass(frozen=True)
class SearchResult(Sequence[Hit]):
    """The hits, nearest first, with how they were found (``stats``) and the statement (``sql``)."""

    hits: tuple[Hit, ...]
    stats: SearchStats
    sql: str

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def to_dict(self) -> dict[str, Any]:
        """``hits`` and ``search``, as the command line prints them in JSON."""
        return {"hits": [asdict(hit) for hit in self.hits], "search": asdict(self.stats)}


@dataclass(frozen=True)
class Plan:
    """The way a search takes, and why."""

    mode: Literal["exact", "hnsw"]
    ef: int | None
    recall: float | None
    reason: str


@dataclass(frozen=True)
class Request:
    """What is asked of a table, apart from the vector."""

    k: int = 10
    modality: Modality = "image"
    where: str | None = None
    metric: Metric = "cosine"
    mode: Mode = "auto"
    ef: int | None = None


def choose(request: Request, kind: str, info: TableInfo, indexes: Mapping[str, str]) -> Plan:
    """How to answer ``request`` for a query of ``kind`` (text, image or vector).

    ``indexes`` maps the table's indexed (modality, metric) pairs, as index_name gives them, to
    their definition. An HNSW search is chosen by itself only where its measured recall for this
    kind of query reaches TARGET_RECALL and it was measured to be faster than an exact one.

    Raises QueryError where hnsw is asked for and there is no index.
    """
    index = indexes.get(index_name(request.modality, request.metric))
    # A bare vector could be of any kind; text is the harder one, so its figures are the safe ones.
    asked = "text" if kind == "vector" else kind
    known = [
        entry
        for entry in info.measured
        if (entry.modality, entry.query, entry.index) == (request.modality, asked, index)
    ]
    if request.mode == "hnsw":
        if index is None:
            raise QueryError(
                f"no {request.metric} index on {embedding_column(request.modality)}: build it with "
                f"cliphouse index {request.modality} --metric {request.metric}, or search "
                "with --mode exact"
            )
        ef = max(request.ef or DEFAULT_EF, request.k)
        same = (e for e in known if e.mode == "hnsw" and e.ef == ef and request.k <= e.k)
        recall = None if request.where else next((e.recall for e in same), None)
        return Plan("hnsw", ef, recall, "asked for")
    if request.mode == "exact":
        return Plan("exact", None, 1.0, "asked for")
    if index is None:
        return Plan("exact", None, 1.0, "there is no index")
    if request.where:
        return Plan("exact", None, 1.0, "a filter is applied to every row")
    good = [e for e in known if e.mode == "hnsw" and e.recall >= TARGET_RECALL]
    exact = next((e for e in known if e.mode == "exact"), None)
    best = min(good, key=lambda e: e.milliseconds, default=None)
    if best is None or exact is None:
        return Plan("exact", None, 1.0, f"no measured width reaches recall {TARGET_RECALL}")
    if best.milliseconds >= exact.milliseconds:
        return Plan("exact", None, 1.0, "measured to be faster than the index here")
    if request.k > best.k:
        return Plan("exact", None, 1.0, f"recall was measured for k up to {best.k}")
    return Plan("hnsw", best.ef, best.recall, "measured to be fastest at its recall")


def index_name(modality: Modality, metric: Metric) -> str:
    """The index's name: the guide's for cosine, with the metric's name behind it otherwise."""
    return f"{modality}_index" + ("" if metric == "cosine" else f"_{metric}")


def search_sql(
    table: str,
    columns: Sequence[str],
    info: TableInfo,
    request: Request,
    plan: Plan,
    embedded: bool,
) -> str:
    """The statement, with the query's vector as parameter ``target`` (see encode_parameter)."""
    column = embedding_column(request.modality)
    target = decode_expression("target", info.precision)
    distance = f"{DISTANCE[request.metric]}({column}, {target})"
    chosen = ["id", f"{distance} AS distance"]
    if request.metric != "cosine":
        chosen.append(f"1 - cosineDistance({column}, {target}) AS match")
    if "similarity" in columns:
        chosen.append("similarity AS pair_similarity")
    chosen += [name for name in _DETAILS if name in columns]
    where = f"WHERE ({request.where}\n)\n" if request.where else ""
    settings = _settings(request, plan, embedded)
    listed = ", ".join(
        f"{name} = {value!r}" if isinstance(value, str) else f"{name} = {value}"
        for name, value in settings.items()
    )
    return (
        f"SELECT {', '.join(chosen)}\nFROM {identifier(table)}\n{where}"
        f"ORDER BY distance ASC\nLIMIT {request.k}\nSETTINGS {listed}"
    )


def _settings(request: Request, plan: Plan, embedded: bool) -> dict[str, int | str]:
    settings: dict[str, int | str] = dict(_EMBEDDED_READ) if embedded else {}
    if plan.mode == "exact":
        return settings | {"query_plan_try_use_vector_search": 0}
    assert plan.ef is not None
    settings |= {
        "hnsw_candidate_list_size_for_search": plan.ef,
        # Distances are then those of the stored vectors, also where part of the table has no index.
        "vector_search_with_rescoring": 1,
        "max_limit_for_vector_search_queries": max(request.k, _ENGINE_MAX_LIMIT),
    }
    if request.where:
        # After the index, a filter could leave fewer than k rows; before it, never.
        settings["vector_search_filter_strategy"] = "prefilter"
    return settings


def run_search(
    connection: Connection, sql: str, info: TableInfo, vector: QueryVector
) -> tuple[tuple[Hit, ...], float]:
    """The hits of a statement of search_sql, and how many milliseconds the engine took."""
    started = time.perf_counter()
    rows = connection.rows(sql, {"target": encode_parameter(vector.values, info.precision)})
    elapsed = (time.perf_counter() - started) * 1000
    return tuple(_hit(row) for row in rows), elapsed


def _hit(row: dict[str, Any]) -> Hit:
    values: dict[str, Any] = {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in row.items()
    }
    match = values.pop("match", None)
    return Hit(similarity=1 - values["distance"] if match is None else match, **values)
