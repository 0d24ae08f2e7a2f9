"""Honest recall: an index against the exact answer, for text and for image queries apart.

A text query lies far outside the cloud of image vectors, and an index that looks perfect for image
queries can miss a third of a text query's nearest images. So both are measured, with queries from
the table itself, and a search is only ever offered with its figure beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cliphouse.table.connection import Connection, identifier
from cliphouse.table.schema import Measured, Modality, TableInfo, embedding_column
from cliphouse.table.search import Plan, Request, run_search, search_sql
from cliphouse.table.vector import QueryVector

EF_LADDER = (64, 128, 256, 512, 1024, 2048)
_WARM_UP = 3
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Sample:
    """A row of the table used as a query, shape (dim,), and the row's id."""

    id: int
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class _Timed:
    """The ids found for each query, and the median time of a search in milliseconds."""

    found: list[list[int]]
    milliseconds: float


def measure_recall(
    connection: Connection,
    table: str,
    info: TableInfo,
    columns: Sequence[str],
    modality: Modality,
    index: str | None,
    k: int = 10,
    queries: int = 100,
    progress: Progress | None = None,
) -> tuple[Measured, ...]:
    """Recall@k and median latency of an exact search and of HNSW at each ef of EF_LADDER.

    ``index`` is the type of the modality's cosine index; without one only the exact search is
    measured. For each kind of embedding the table has, ``queries`` rows are taken as queries
    (spread by a hash of their id, so the same in every run). Recall is the mean share of the exact
    top k that is found; a query's own row counts on neither side.
    """
    rows = int(connection.command(f"SELECT count() FROM {identifier(table)}"))
    measured = []
    ladder = EF_LADDER if index else ()
    steps = [(kind, ef) for kind in info.modalities for ef in (None, *ladder)]
    truth: list[list[int]] = []
    for step, (kind, ef) in enumerate(steps):
        samples = _sample(connection, table, kind, queries)
        mode = "exact" if ef is None else "hnsw"
        request = Request(k=k + 1, modality=modality)
        plan = (
            Plan("exact", None, None, "") if ef is None else Plan("hnsw", max(ef, k + 1), None, "")
        )
        sql = search_sql(table, columns, info, request, plan, connection.is_embedded)
        timed = _search_all(connection, sql, info, samples, k)
        truth = timed.found if ef is None else truth
        recall = _recall(timed.found, truth)
        measured.append(
            Measured(
                modality,
                kind,
                mode,
                ef or 0,
                k,
                recall,
                timed.milliseconds,
                len(samples),
                rows,
                index or "",
            )
        )
        if progress:
            progress(step + 1, len(steps))
    return tuple(measured)


def _sample(connection: Connection, table: str, kind: Modality, count: int) -> list[_Sample]:
    found = connection.query(
        f"SELECT id, CAST({embedding_column(kind)}, 'Array(Float32)') AS vector "
        f"FROM {identifier(table)} WHERE id IN (SELECT id FROM {identifier(table)} "
        "ORDER BY sipHash64(id) LIMIT {count:UInt32})",
        {"count": count},
    )
    return [
        _Sample(row_id, np.array(vector, dtype=np.float32))
        for row_id, vector in zip(
            found.column("id").to_pylist(), found.column("vector").to_pylist(), strict=True
        )
    ]


def _search_all(
    connection: Connection, sql: str, info: TableInfo, samples: Sequence[_Sample], k: int
) -> _Timed:
    found, times = [], []
    for sample in samples[:_WARM_UP]:
        run_search(connection, sql, info, QueryVector(sample.vector, "vector"))
    for sample in samples:
        started = time.perf_counter()
        hits, _ = run_search(connection, sql, info, QueryVector(sample.vector, "vector"))
        times.append((time.perf_counter() - started) * 1000)
        found.append([hit.id for hit in hits if hit.id != sample.id][:k])
    return _Timed(found, statistics.median(times))


def _recall(found: Sequence[Sequence[int]], truth: Sequence[Sequence[int]]) -> float:
    shares = [len(set(f) & set(t)) / len(t) for f, t in zip(found, truth, strict=True) if t]
    return statistics.fmean(shares) if shares else 1.0
