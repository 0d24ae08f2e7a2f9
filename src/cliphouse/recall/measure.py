"""Measures the recall of every search method against the exact answer, for text and for image
queries.

A text query lies far outside the cloud of image vectors: an index that looks perfect for image
queries can miss a third of a text query's nearest images. So both kinds are measured, with queries
from the table itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cliphouse.errors import QueryError
from cliphouse.recall.keep import keep_measured
from cliphouse.recall.ladder import Step, bisect, walk
from cliphouse.recall.questions import Question, Sample, sample_rows, turned_aside
from cliphouse.recall.shortlists import Lister
from cliphouse.recall.truth import Exact
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.methods import METHODS, method_of
from cliphouse.search.methods.method import Plan, Search, exact_plan
from cliphouse.search.planner import search_of
from cliphouse.search.query.vector import QueryVector
from cliphouse.search.request import Request
from cliphouse.search.run import Searcher
from cliphouse.search.statement import shortlist_sql
from cliphouse.vocabulary import Measured, Metric, Modality, Progress

# Image queries are easier: a higher recall of them costs almost nothing.
TARGETS: dict[Modality, float] = {"text": 0.95, "image": 0.99}
MAX_RECALL_K = 1000
LEAST_QUERIES = 30  # figures of fewer are not saved: the mean of a few says too little
_FULL_QUERIES_K = 10  # above this k a query says more and costs more, so that fewer are used
_MORE_QUERIES = 30  # are searched for at a time, until the recall is known well enough
_KNOWN = 0.005  # standard error at which it is: two of them are one percentage point
_WARM_UP = 1
_TIMED, _TIMED_QUICKLY = 30, 10  # searches by which a width is timed, half as many exact ones
_NEIGHBOURS = 30  # rows by whose nearest other row the distance between rows is estimated
_EXACT_STEPS = 4  # what the exact answers take, in steps of a ladder, for progress alone
_QUICK_STEPS = 4  # of a ladder that is not walked


@dataclass(frozen=True)
class RecallSpec:
    """What to measure: recall@k for each of ``ks``, over ``queries`` queries of each kind.

    The ``target`` is saved with the figures; None stands for TARGETS. ``is_saved`` says that mode
    auto will use the figures. ``is_quick`` measures only the widths around the first one that
    reaches the target, with as many queries as make its recall known to a percentage point.

    Raises QueryError if a value is out of range.
    """

    modality: Modality = "image"
    metric: Metric = "cosine"
    ks: tuple[int, ...] = (10,)
    queries: int = 200
    target: float | None = None
    is_saved: bool = False
    is_quick: bool = False

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

    @property
    def timed(self) -> int:
        """The number of searches by which a width is timed."""
        return min(self.queries, _TIMED_QUICKLY if self.is_quick else _TIMED)


@dataclass(frozen=True)
class _Asked:
    """Queries of one kind with the ids of their exact answers, the nearest first."""

    kind: Modality
    questions: list[Question]
    truth: list[list[int]]

    def share(self, place: int, found: Sequence[int], k: int) -> float | None:
        """The share of a query's exact top ``k`` that is among ``found``; None if it has none."""
        wanted = set(self.questions[place].cut(self.truth[place], k))
        return len(wanted & set(found)) / len(wanted) if wanted else None


@dataclass(frozen=True)
class _Ladder:
    """The plans of one approximate method for one k, and what it searches."""

    plans: list[Plan]
    index: str


def measure_recall(
    table: TableHandle,
    facts: TableFacts,
    spec: RecallSpec,
    progress: Progress | None = None,
) -> tuple[Measured, ...]:
    """Measure recall@k and latency of exact search and of each approximate method that the table
    allows, at rising widths until a wider one gains nothing; or at few widths (see RecallSpec).

    For each kind of embedding that the table has, its rows are the queries, chosen by a hash of
    their id and so the same in every run. Queries of the searched kind are rows that the graph
    holds, so they are turned aside first (see turned_aside). Recall is the mean share of the exact
    top k over the stored vectors that is found; a text's own picture is left out of both answers.

    If the figures are to be saved, that they can be is found out first: raises what keep_measured
    raises.
    """
    if spec.is_saved:
        keep_measured(table, ())
    with Lister(table, facts) as lister:
        return tuple(_Measuring(table, facts, spec, lister, progress).run())


class _Measuring:
    """One measurement, of all kinds of queries and all k."""

    def __init__(
        self,
        table: TableHandle,
        facts: TableFacts,
        spec: RecallSpec,
        lister: Lister,
        progress: Progress | None,
    ) -> None:
        self._table = table
        self._facts = facts
        self._spec = spec
        self._ks = sorted(spec.ks)
        self._lister = lister
        self._searcher = Searcher(table, facts)
        self._ladders = {k: list(_ladders(facts, spec, k)) for k in self._ks}
        self._lists: dict[tuple[str, ...], list[list[int]]] = {}
        self._progress = progress
        steps = sum(map(self._steps, (one for k in self._ks for one in self._ladders[k])))
        self._total = _EXACT_STEPS + steps * len(facts.info.modalities)
        self._done = 0.0

    def run(self) -> Iterator[Measured]:
        """Measure exact search first, then for each kind of query and each k every ladder."""
        kinds = self._facts.info.modalities
        count = self._spec.queries_for(self._ks[0])
        samples = {kind: sample_rows(self._table, kind, count) for kind in kinds}
        exact_ms = {k: self._time_exact(k, samples[kinds[0]]) for k in self._ks}
        asked = self._ask(samples, float(np.median(exact_ms[self._ks[-1]])))
        for one in asked:
            for k in self._ks:
                exact = self._entry(one, exact_plan(""), k, [], exact_ms[k], "")
                yield exact
                for ladder in self._ladders[k]:
                    yield from self._measure(one, k, ladder, exact.milliseconds)

    def _ask(self, samples: dict[Modality, list[Sample]], exact_ms: float) -> list[_Asked]:
        """The queries of each kind, and their exact answers, read in one pass for all kinds."""
        exact = Exact(self._table, self._facts, exact_ms)
        asked: dict[Modality, list[Question]] = {}
        for kind, rows in samples.items():
            asked[kind] = [Question(row.vector, row.id) for row in rows]
            if kind == self._spec.modality:
                similarity = exact.similarity(rows[:_NEIGHBOURS], kind)
                turned = turned_aside(np.array([row.vector for row in rows]), similarity)
                asked[kind] = [Question(vector, None) for vector in turned]

        def tell(done: int, total: int) -> None:
            self._tell(_EXACT_STEPS * done / total)

        vectors = np.array([question.vector for kind in asked for question in asked[kind]])
        answers = iter(exact.answers(self._request(self._ks[-1]), vectors, tell))
        self._tell(_EXACT_STEPS)
        return [
            _Asked(kind, questions, [next(answers) for _ in questions])
            for kind, questions in asked.items()
        ]

    def _measure(
        self, asked: _Asked, k: int, ladder: _Ladder, exact_ms: float
    ) -> Iterator[Measured]:
        """Measure the steps of a ladder, and return them from the narrowest on."""
        begun, measured = self._done, {}

        def step(place: int) -> Step:
            found = self._measure_width(asked, k, ladder.plans[place], ladder.index)
            measured[place] = found
            self._tell(min(self._done + 1, begun + self._steps(ladder)))
            is_good = found.recall - found.standard_error >= found.target
            return Step(found.recall, is_good, found.milliseconds > exact_ms)

        (bisect if self._spec.is_quick else walk)(len(ladder.plans), step)
        self._tell(begun + self._steps(ladder))
        yield from (measured[place] for place in sorted(measured))

    def _measure_width(self, asked: _Asked, k: int, plan: Plan, index: str) -> Measured:
        rows = self._listed(plan, k)
        settings = method_of(plan.mode).shortlist(self._facts, plan, rows)
        if settings is None:
            shares, times = self._searched_shares(asked, plan, k)
        else:
            request = self._request(k)
            sql = shortlist_sql(self._table.name, self._facts, request, rows, settings)
            shares = self._listed_shares(asked, plan, k, sql)
            times = self._search(asked.questions[: self._spec.timed], plan, k)[1]
        return self._entry(asked, plan, k, shares, times, index)

    def _listed(self, plan: Plan, k: int) -> int:
        """The candidates to list: enough for each k whose search is not wider for it."""
        counts = (self._candidates(plan, other) for other in self._ks)
        shared = [count for count in counts if count <= (plan.width or 0)]
        return max(self._candidates(plan, k), *shared) if shared else self._candidates(plan, k)

    def _candidates(self, plan: Plan, k: int) -> int:
        """How many candidates a search compares exactly for one row more than ``k``."""
        search = search_of(self._request(k))
        return method_of(plan.mode).candidates(search, self._facts, k + 1)

    def _listed_shares(self, asked: _Asked, plan: Plan, k: int, sql: str) -> list[float]:
        """The recall of each query by its candidates alone: those of the true top k come first when
        they are compared exactly."""
        lists = self._lists.setdefault((asked.kind, sql), [])
        compared = self._candidates(plan, k)

        def shares_of(stop: int) -> list[float]:
            lists.extend(self._lister.list_ids(sql, asked.questions[len(lists) : stop]))
            shares = (asked.share(n, lists[n][:compared], k) for n in range(stop))
            return [share for share in shares if share is not None]

        return self._until_known(len(asked.questions), k, shares_of)

    def _searched_shares(
        self, asked: _Asked, plan: Plan, k: int
    ) -> tuple[list[float], list[float]]:
        """The recall and the milliseconds of whole searches."""
        found: list[list[int]] = []
        times: list[float] = []

        def shares_of(stop: int) -> list[float]:
            ids, took = self._search(asked.questions[len(found) : stop], plan, k)
            found.extend(ids)
            times.extend(took)
            shares = (asked.share(n, found[n], k) for n in range(stop))
            return [share for share in shares if share is not None]

        return self._until_known(len(asked.questions), k, shares_of), times

    def _until_known(
        self, questions: int, k: int, shares_of: Callable[[int], list[float]]
    ) -> list[float]:
        """The recall of each of the first queries: of all, or in a quick measurement of as many as
        it takes to know the mean."""
        most = min(questions, self._spec.queries_for(k))
        stop = min(most, LEAST_QUERIES) if self._spec.is_quick else most
        while True:
            shares = shares_of(stop)
            if stop == most or _standard_error(shares, k) <= _KNOWN:
                return shares
            stop = min(most, stop + _MORE_QUERIES)

    def _time_exact(self, k: int, samples: Sequence[Sample]) -> list[float]:
        """The milliseconds of some exact searches."""
        questions = [Question(sample.vector, None) for sample in samples]
        count = math.ceil(self._spec.timed / 2)
        return self._search(questions[:count], exact_plan("to be compared"), k)[1]

    def _search(
        self, questions: Sequence[Question], plan: Plan, k: int
    ) -> tuple[list[list[int]], list[float]]:
        """The ids that a search finds for each query, and its milliseconds."""
        request = self._request(k)
        found, times = [], []
        for question in (*questions[:_WARM_UP], *questions):
            answer = self._searcher.run(QueryVector(question.vector, "vector"), request, plan)
            times.append(answer.milliseconds)
            found.append(question.cut([hit.id for hit in answer.hits], k))
        warm = len(questions[:_WARM_UP])
        return found[warm:], times[warm:]

    def _request(self, k: int) -> Request:
        """The request for one row more than k, since the query's own row is left out."""
        return Request(k=k + 1, modality=self._spec.modality, metric=self._spec.metric)

    def _entry(
        self,
        asked: _Asked,
        plan: Plan,
        k: int,
        shares: Sequence[float],
        times: Sequence[float],
        index: str,
    ) -> Measured:
        is_exact = not method_of(plan.mode).is_approximate
        spec = self._spec
        return Measured(
            modality=spec.modality,
            query=asked.kind,
            mode=plan.mode,
            width=plan.width or 0,
            k=k,
            recall=1.0 if is_exact else round(float(np.mean(shares or [1.0])), 5),
            milliseconds=round(float(np.median(times)), 3),
            queries=min(len(asked.questions), spec.queries_for(k)) if is_exact else len(shares),
            rows=self._facts.rows,
            index=index,
            metric=spec.metric,
            standard_error=0.0 if is_exact else round(_standard_error(shares, k), 5),
            p95=round(float(np.percentile(times, 95)), 3),
            target=TARGETS[asked.kind] if spec.target is None else spec.target,
        )

    def _steps(self, ladder: _Ladder) -> int:
        return _QUICK_STEPS if self._spec.is_quick else len(ladder.plans)

    def _tell(self, done: float) -> None:
        self._done = done
        if self._progress:
            self._progress(round(100 * done), 100 * self._total)


def _ladders(facts: TableFacts, spec: RecallSpec, k: int) -> Iterator[_Ladder]:
    """The approximate methods that the table allows."""
    search = Search(spec.modality, spec.metric, k + 1)
    for method in METHODS.values():
        structure = method.structure(search, facts)
        if method.is_approximate and structure is not None:
            widths = method.ladder(facts, k)
            yield _Ladder([Plan(method.name, width, None, "") for width in widths], structure)


def _standard_error(shares: Sequence[float], k: int) -> float:
    """The standard error of the mean of the shares, and at least the effect of one more miss in
    all queries: if a sample has no miss, other queries may still have some."""
    count = max(1, len(shares))
    spread = float(np.std(shares, ddof=1)) if len(shares) > 1 else 1.0
    return max(spread / math.sqrt(count), 1 / (count * k))
