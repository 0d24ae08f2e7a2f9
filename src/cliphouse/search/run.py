"""Running a search: planning it, and widening it until k rows are found if there are k."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cliphouse.engine.arrays import plain_columns, plain_value, text_of, vectors_of
from cliphouse.engine.reading import ReadingMeter
from cliphouse.schema.columns import Value
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.condition import Condition, explained
from cliphouse.search.dedup import fold_duplicates
from cliphouse.search.hits import Hit, HitField
from cliphouse.search.methods import method_of
from cliphouse.search.methods.method import APPLIED, Plan, exact_plan
from cliphouse.search.missing import look_for_files
from cliphouse.search.paging import Cursor
from cliphouse.search.planner import choose
from cliphouse.search.query.parameter import encode_parameter
from cliphouse.search.query.vector import QueryVector
from cliphouse.search.request import MAX_K, Request
from cliphouse.search.results import SearchResult, SearchStats
from cliphouse.search.rows import read_vectors
from cliphouse.search.selectivity import estimate_selectivity
from cliphouse.search.statement import (
    DISTANCE_NAME,
    SCORE_NAME,
    VECTOR_NAME,
    condition_of,
    is_cut,
    order_of,
    search_sql,
    shown_fields,
)
from cliphouse.shards.roots import local_urls

_WIDER = 4  # how much wider a search that found too few rows tries again
_DEDUP_SPARE = 2  # how many times as many rows a search with dedup begins with
_MOST_KNOWN = 256  # plans and statements that are kept from search to search
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Statement:
    """The statement of a search, and the columns that its hits show."""

    sql: str
    fields: tuple[HitField, ...]


@dataclass(frozen=True)
class Found:
    """The nearest rows (all that there are, if fewer than were asked for), the plan and statement
    that found them, the columns that they show, and the milliseconds it took. ``vectors`` are their
    embeddings, float32 of shape (rows, dim); None unless the request leaves out near-duplicates."""

    hits: list[Hit]
    vectors: NDArray[np.float32] | None
    plan: Plan
    sql: str
    fields: tuple[HitField, ...]
    milliseconds: float


@dataclass(frozen=True)
class _Paged:
    """A search, the page of its hits, and its depth: how many of the nearest rows it looked for."""

    found: Found
    hits: Sequence[Hit]
    depth: int


class Searcher:
    """Searches one table as ``facts`` describe it."""

    def __init__(self, table: TableHandle, facts: TableFacts) -> None:
        self._connection = table.connection
        self._table = table
        self._facts = facts
        self._local = local_urls(facts.info.roots)
        self._shares: dict[tuple[str, str], float] = {}
        self._known: dict[Hashable, Any] = {}

    def search(
        self, vector: QueryVector, request: Request, encode_ms: float = 0.0, count: bool = False
    ) -> SearchResult:
        """The page of hits that ``request`` asks for. ``count`` has the rows counted that an
        embedded engine reads, which takes some milliseconds.

        Raises QueryError if the request's mode is one that the table does not support.
        """
        meter = ReadingMeter(self._connection) if count and self._connection.is_alone else None
        started = time.perf_counter()
        order = order_of(self._facts, request)
        page = self._paged(vector, request)
        plan = page.found.plan
        elapsed = (time.perf_counter() - started) * 1000
        stats = SearchStats(
            mode=plan.mode,
            width=plan.width,
            recall=plan.recall,
            reason=plan.reason,
            filtered=plan.filtered,
            metric=request.metric,
            modality=request.modality,
            query=vector.kind,
            k=request.k,
            encode_ms=encode_ms,
            search_ms=elapsed,
            rows_read=meter.read_rows() if meter else None,
        )
        hits = look_for_files(page.hits, self._facts.info.roots)
        return SearchResult(
            tuple(hits if order is None else order.sort(hits)),
            stats,
            page.found.sql,
            _next_cursor(page, request),
            page.found.fields,
            lambda ids: read_vectors(self._table, ids, request.modality),
        )

    def _paged(self, vector: QueryVector, request: Request) -> _Paged:
        """Search for as many rows as the page needs.

        An approximate search may find rows this time that belong before the cursor; then it has to
        look for as many more.
        """
        depth = request.needed
        while True:
            found, kept = self._deduplicated(vector, request, depth)
            kept = _good(kept, request)
            hits = _page(kept, request)
            if len(hits) == request.k or len(kept) < depth or depth == MAX_K:
                return _Paged(found, hits, depth)
            depth = min(depth + max(request.k, depth // 4), MAX_K)

    def _deduplicated(
        self, vector: QueryVector, request: Request, needed: int
    ) -> tuple[Found, list[Hit]]:
        """The search, and its hits without near-duplicates: as many as are needed, if there are as
        many."""
        if request.dedup is None:
            found = self.nearest(vector, request, needed)
            return found, found.hits
        limit = min(needed * _DEDUP_SPARE, MAX_K)
        while True:
            found = self.nearest(vector, request, limit)
            assert found.vectors is not None
            kept = fold_duplicates(found.hits, found.vectors, request.dedup)
            if len(kept) >= needed or len(found.hits) < limit or limit == MAX_K:
                return found, kept[:needed]
            limit = min(limit * _WIDER, MAX_K)

    def nearest(self, vector: QueryVector, request: Request, limit: int) -> Found:
        """The ``limit`` nearest rows, by the best plan for the request, and by wider ones until
        there are so many or no more."""
        condition = condition_of(request, self._facts)
        asked = request
        if request.k != limit or request.offset or request.cursor:
            asked = replace(request, k=limit, offset=0, cursor=None)
        plan = self._choose(asked, vector.kind, condition)
        found = self.run(vector, asked, plan, condition)
        while len(found.hits) < min(limit, self._facts.rows) and _is_approximate(found.plan):
            # Deleted rows are still in the graph, or fewer rows pass the filter near here than
            # elsewhere.
            plan = _wider(found.plan, condition is not None, self._facts, limit)
            again = self.run(vector, asked, plan, condition)
            found = replace(again, milliseconds=found.milliseconds + again.milliseconds)
        return found

    def run(
        self, vector: QueryVector, request: Request, plan: Plan, condition: Condition | None = None
    ) -> Found:
        """The ``request.k`` nearest rows by just this plan; fewer if it finds fewer."""
        statement = self._statement(request, plan, condition)
        sql = statement.sql
        parameters: dict[str, Any] = {
            "target": encode_parameter(vector.values, self._facts.info.precision)
        }
        started = time.perf_counter()
        if condition is not None:
            parameters |= condition.parameters
        with explained(condition, sql):
            if request.dedup is None:
                columns, vectors = self._connection.columns(sql, parameters), None
            else:
                columns, vectors = self._with_vectors(sql, parameters)
        elapsed = (time.perf_counter() - started) * 1000
        keys = list(zip(columns.get(DISTANCE_NAME, ()), columns.get("id", ()), strict=True))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        if (urls := columns.get("url")) and self._facts.info.roots:
            columns["url"] = [self._local(plain_value(url)) for url in urls]
        hits = _hits(columns, order, statement.fields)
        vectors = None if vectors is None else vectors[order]
        return Found(hits, vectors, plan, sql, statement.fields, elapsed)

    def _statement(self, request: Request, plan: Plan, condition: Condition | None) -> _Statement:
        def write() -> _Statement:
            table, facts = self._table.name, self._facts
            sql = search_sql(table, facts, request, plan, request.k, condition)
            return _Statement(sql, shown_fields(facts, request))

        return self._once(("statement", plan), request, condition, write)

    def _once(
        self,
        what: tuple[str, Hashable],
        request: Request,
        condition: Condition | None,
        make: Callable[[], _T],
    ) -> _T:
        """What ``make`` returns, made once for all searches of the same request, which take a tenth
        of a millisecond less. With a condition it is made each time."""
        if condition is not None or request.filter is not None:
            return make()
        key = (what, request)
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = make()
        found: _T = self._known[key]
        return found

    def _with_vectors(
        self, sql: str, parameters: dict[str, Any]
    ) -> tuple[dict[str, Sequence[Any]], NDArray[np.float32]]:
        """What a search finds, by columns, and the vectors, float32 of shape (rows, dim)."""
        found = self._connection.query(sql, parameters)
        vectors = vectors_of(found.column(VECTOR_NAME), self._facts.info.dim)
        return plain_columns(found.drop_columns(VECTOR_NAME)), vectors

    def _choose(self, request: Request, kind: str, condition: Condition | None) -> Plan:
        plan = self._once(
            ("plan", kind), request, condition, lambda: choose(request, kind, self._facts)
        )
        if condition is None:
            return plan
        if condition.is_on_score and _is_approximate(plan):
            # Rows of a high score are the nearest ones, so the search need not be wider for them.
            if not method_of(plan.mode).is_in_stages(self._facts, is_filtered=True):
                return exact_plan("a condition on the score is applied to every row", APPLIED)
            return replace(plan, recall=None, filtered="applied to the nearest candidates")
        counts = method_of(plan.mode).needs_selectivity
        share = self._selectivity(condition) if counts else 1.0
        return choose(request, kind, self._facts, share)

    def _selectivity(self, condition: Condition) -> float:
        """The share of rows that pass, counted once for all queries."""
        key = (condition.sql, repr(condition.parameters))
        if key not in self._shares:
            share = estimate_selectivity(self._table, self._facts, condition)
            self._shares[key] = share
        return self._shares[key]


def _is_approximate(plan: Plan) -> bool:
    return method_of(plan.mode).is_approximate


def _wider(plan: Plan, is_filtered: bool, facts: TableFacts, limit: int) -> Plan:
    wider = method_of(plan.mode).wider_plan(plan, facts, limit, is_filtered)
    return wider or exact_plan(
        f"{plan.mode} gave too few rows",
        f"{plan.filtered}; then every row was scanned" * is_filtered,
    )


def _good(hits: list[Hit], request: Request) -> list[Hit]:
    """The hits, nearest first, up to the last whose score is good enough."""
    least = request.min_score
    if least is None or not is_cut(request):
        return hits
    return [hit for hit in hits if hit.score >= least]


def _page(hits: Sequence[Hit], request: Request) -> Sequence[Hit]:
    if request.cursor is None:
        return hits[request.offset : request.offset + request.k]
    place = request.cursor
    return [hit for hit in hits if place.is_before(hit.distance, hit.id)][: request.k]


def _next_cursor(page: _Paged, request: Request) -> str | None:
    """Only a full page can have another after it, and no search looks for more than MAX_K rows."""
    if len(page.hits) < request.k or page.depth >= MAX_K:
        return None
    last = page.hits[-1]
    return Cursor(last.distance, last.id, page.depth, request.fingerprint).to_token()


def _hits(
    columns: Mapping[str, Sequence[Any]], order: Sequence[int], fields: Sequence[HitField]
) -> list[Hit]:
    """The rows of ``columns`` as hits, in this order."""
    if not columns:
        return []
    ids, distances = columns["id"], columns[DISTANCE_NAME]
    scores = columns.get(SCORE_NAME) or [1 - distance for distance in distances]
    names = [field.name for field in fields]
    values = [_values(columns.get(field.name), field, len(ids)) for field in fields]
    return [
        Hit(ids[n], scores[n], distances[n], dict(zip(names, (v[n] for v in values), strict=True)))
        for n in order
    ]


def _values(column: Sequence[Any] | None, field: HitField, count: int) -> Sequence[Value]:
    """A table made by other hands may lack a value, or the column."""
    absent = field.type.absent
    if column is None:
        return [absent] * count
    if field.type.python in (int, float):
        return [absent if v is None else v for v in column]
    if field.type.python is str:
        return [absent if v is None else text_of(v) for v in column]
    return [absent if v is None else plain_value(v) for v in column]
