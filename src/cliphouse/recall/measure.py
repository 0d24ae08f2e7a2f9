"""Measures the recall of every search method against the exact answer, for text and for image
queries.

A text query lies far outside the cloud of image vectors: an index that looks perfect for image
queries can miss a third of a text query's nearest images. So both kinds are measured, with queries
from the table itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cliphouse.engine.arrays import vectors_of
from cliphouse.errors import QueryError
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.condition import Condition
from cliphouse.search.methods import METHODS
from cliphouse.search.methods.method import Plan, Search, exact_plan
from cliphouse.search.query.vector import QueryVector
from cliphouse.search.request import Request
from cliphouse.search.run import Searcher
from cliphouse.vocabulary import Measured, Metric, Modality, Progress

# Image queries are easier: a higher recall of them costs almost nothing.
TARGETS: dict[Modality, float] = {"text": 0.95, "image": 0.99}
MAX_RECALL_K = 1000
_ENOUGH = 0.999  # at this recall no wider step is measured
_STUCK = 3  # nor after so many steps without a gain, as with a graph of bits
LEAST_QUERIES = 30  # figures of fewer are not saved: the mean of a few says too little
_FULL_QUERIES_K = 10  # above this k a query says more and costs more, so that fewer are used
_WARM_UP = 3
_NEIGHBOURS = 30  # rows by whose nearest other row the distance between rows is estimated
_APART = 1e-6  # two rows that differ by less count as one


@dataclass(frozen=True)
class RecallSpec:
    """What to measure: recall@k for each of ``ks``, over ``queries`` queries of each kind.

    The ``target`` is saved with the figures; None stands for TARGETS. ``is_saved`` says that mode
    auto will use the figures.

    Raises QueryError if a value is out of range.
    """

    modality: Modality = "image"
    metric: Metric = "cosine"
    ks: tuple[int, ...] = (10,)
    queries: int = 200
    target: float | None = None
    is_saved: bool = False

    def __post_init__(self) -> None:
        if not self.ks or not all(1 <= k <= MAX_RECALL_K for k in self.ks):
            raise QueryError(f"recall is measured for k of 1 to {MAX_RECALL_K:,}")
        if self.queries < 1:
            raise QueryError("recall needs at least one query")
        if self.is_saved and self.queries < LEAST_QUERIES:
            raise QueryError(
                f"{self.queries} queries are too few for mode auto to rely on: measure with "
                f"{LEAST_QUERIES} or more, or do not save"
            )
        if self.target is not None and not 0 < self.target <= 1:
            raise QueryError(f"target is {self.target}; it must be above 0 and at most 1")

    def queries_for(self, k: int) -> int:
        """The number of queries of each kind: LEAST_QUERIES or more if ``queries`` allows it."""
        if k <= _FULL_QUERIES_K:
            return self.queries
        return min(self.queries, max(LEAST_QUERIES, math.ceil(self.queries / 4)))


@dataclass(frozen=True)
class Sample:
    """A row of the table used as a query, shape (dim,), and the row's id."""

    id: int
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class _Question:
    """A query, shape (dim,), and the id of its row, which is left out of both answers; None if it
    is not a row."""

    vector: NDArray[np.float32]
    own: int | None


@dataclass(frozen=True)
class _Timed:
    """The ids found for each query, and each search's milliseconds."""

    found: list[list[int]]
    milliseconds: list[float]


def measure_recall(
    table: TableHandle,
    facts: TableFacts,
    spec: RecallSpec,
    progress: Progress | None = None,
) -> tuple[Measured, ...]:
    """Measure recall@k and latency of exact search and of each approximate method that the table
    allows, at rising widths until a wider one gains nothing.

    For each kind of embedding that the table has, its rows are the queries, chosen by a hash of
    their id and so the same in every run. Queries of the searched kind are rows that the graph
    holds, so they are turned aside first (see turned_aside). Recall is the mean share of the exact
    top k over the stored vectors that is found; a text's own picture is left out of both answers.
    """
    searcher = Searcher(table, facts)
    rounds = [(kind, k) for kind in facts.info.modalities for k in sorted(spec.ks)]
    measured: list[Measured] = []
    for step, (kind, k) in enumerate(rounds):
        measured += _measure(table, searcher, facts, spec, kind, k)
        if progress:
            progress(step + 1, len(rounds))
    return tuple(measured)


def _measure(
    table: TableHandle,
    searcher: Searcher,
    facts: TableFacts,
    spec: RecallSpec,
    kind: Modality,
    k: int,
) -> Iterator[Measured]:
    """Measure one kind of query and one k: exact search first, then each ladder of widths."""
    samples = sample_rows(table, kind, spec.queries_for(k))
    request = Request(k=k + 1, modality=spec.modality, metric=spec.metric)
    questions = [_Question(sample.vector, sample.id) for sample in samples]
    if kind == spec.modality:
        questions = _new_ones(searcher, request, samples)

    def timed(plan: Plan) -> _Timed:
        return _search_all(searcher, request, plan, questions, k)

    def entry(plan: Plan, answer: _Timed, recalls: Sequence[float], index: str) -> Measured:
        return Measured(
            modality=spec.modality,
            query=kind,
            mode=plan.mode,
            width=plan.width or 0,
            k=k,
            recall=round(float(np.mean(recalls)), 5),
            milliseconds=round(float(np.median(answer.milliseconds)), 3),
            queries=len(samples),
            rows=facts.rows,
            index=index,
            metric=spec.metric,
            standard_error=round(_standard_error(recalls, k), 5),
            p95=round(float(np.percentile(answer.milliseconds, 95)), 3),
            target=TARGETS[kind] if spec.target is None else spec.target,
        )

    truth = exact_plan("the reference for the other methods")
    exact = timed(truth)
    exact_entry = replace(entry(truth, exact, [1.0], ""), standard_error=0.0)
    yield exact_entry
    for plans, index in _ladders(facts, spec, k):
        best, stuck = 0.0, 0
        for plan in plans:
            answer = timed(plan)
            found = entry(plan, answer, _recalls(answer.found, exact.found), index)
            yield found
            is_good = found.recall - found.standard_error >= found.target
            is_slow = found.milliseconds > exact_entry.milliseconds
            stuck = stuck + 1 if found.recall <= best else 0
            best = max(best, found.recall)
            if found.recall >= _ENOUGH or (is_good and is_slow) or stuck == _STUCK:
                break


def _ladders(facts: TableFacts, spec: RecallSpec, k: int) -> Iterator[tuple[list[Plan], str]]:
    """The approximate methods that the table allows: each with its plans and what it searches."""
    search = Search(spec.modality, spec.metric, k + 1)
    for method in METHODS.values():
        structure = method.structure(search, facts)
        if method.is_approximate and structure is not None:
            widths = method.ladder(facts, k)
            yield [Plan(method.name, width, None, "") for width in widths], structure


def sample_rows(
    table: TableHandle,
    kind: Modality,
    count: int,
    condition: Condition | None = None,
) -> list[Sample]:
    """Choose rows of the table as queries: of those that meet ``condition``, the ones whose ids
    have the smallest hashes. If several rows have the same id, one of them is chosen."""
    where = f"WHERE {condition.sql} " if condition else ""
    chosen = table.connection.query(
        f"SELECT DISTINCT id FROM {table.sql} {where}ORDER BY sipHash64(id) LIMIT {{count:UInt32}}",
        {"count": count, **(condition.parameters if condition else {})},
    )
    found = table.connection.query(
        f"SELECT id, CAST({embedding_column(kind)}, 'Array(Float32)') AS vector "
        f"FROM {table.sql} WHERE id IN {{ids:Array(Int64)}} "
        "ORDER BY sipHash64(id) LIMIT 1 BY id",
        {"ids": chosen.column("id").to_pylist()},
    )
    vectors = vectors_of(found.column("vector"), table.info.dim)
    return [Sample(*row) for row in zip(found.column("id").to_pylist(), vectors, strict=True)]


def _new_ones(searcher: Searcher, request: Request, samples: Sequence[Sample]) -> list[_Question]:
    """Queries that are no rows, each as near to a row as rows are to their nearest neighbours."""
    exact = exact_plan("for the distance between rows")
    nearest = []
    for sample in samples[:_NEIGHBOURS]:
        vector = QueryVector(sample.vector, "vector")
        hits = searcher.run(vector, replace(request, k=2), exact).hits
        nearest += [hit.score for hit in hits if hit.id != sample.id][:1]
    rows = np.array([sample.vector for sample in samples])
    turned = turned_aside(rows, float(np.median(nearest)) if nearest else 1.0)
    return [_Question(vector, None) for vector in turned]


def turned_aside(rows: NDArray[np.float32], similarity: float) -> NDArray[np.float32]:
    """Turn each row, float32 of shape (n, dim), towards the row before it, until its cosine
    similarity to itself before is ``similarity``. Its length stays.

    The neighbours of a row that is a node of the graph are found more easily than those of a
    picture that is not in the graph: at 100,000 rows ef 128 found 0.996 of the neighbours of
    rows and 0.975 of those of new pictures (docs/benchmarks/search.md).
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / lengths
    others = np.roll(unit, 1, axis=0)
    aside = others - np.sum(others * unit, axis=1, keepdims=True) * unit
    apart = np.linalg.norm(aside, axis=1, keepdims=True)
    aside = np.divide(aside, apart, out=np.zeros_like(aside), where=apart > _APART)
    near = np.where(apart > _APART, np.clip(similarity, -1, 1), 1)
    turned: NDArray[np.float32] = (lengths * (near * unit + np.sqrt(1 - near**2) * aside)).astype(
        np.float32
    )
    return turned


def _search_all(
    searcher: Searcher, request: Request, plan: Plan, questions: Sequence[_Question], k: int
) -> _Timed:
    found, times = [], []
    for question in questions[:_WARM_UP]:
        searcher.run(QueryVector(question.vector, "vector"), request, plan)
    for question in questions:
        answer = searcher.run(QueryVector(question.vector, "vector"), request, plan)
        times.append(answer.milliseconds)
        found.append([hit.id for hit in answer.hits if hit.id != question.own][:k])
    return _Timed(found, times)


def _standard_error(shares: Sequence[float], k: int) -> float:
    """The standard error of the mean of the shares, and at least the effect of one more miss in
    all queries: if a sample has no miss, other queries may still have some."""
    spread = float(np.std(shares, ddof=1)) if len(shares) > 1 else 1.0
    return max(spread / math.sqrt(len(shares)), 1 / (len(shares) * k))


def _recalls(found: Sequence[Sequence[int]], truth: Sequence[Sequence[int]]) -> list[float]:
    """The share of the exact answer that was found, for each query."""
    shares = [len(set(f) & set(t)) / len(t) for f, t in zip(found, truth, strict=True) if t]
    return shares or [1.0]
