"""Which way a search takes: exact, codes or HNSW, and how wide.

Nothing approximate is taken by itself without its measured recall: ``auto`` uses an approximate
way only where ``cliphouse recall`` found that it reaches the target for this kind of query, and
that it is faster than the exact way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cliphouse.errors import QueryError
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import TableFacts
from cliphouse.search.allowed import is_allowed
from cliphouse.search.request import MAX_OVERSAMPLING, Request
from cliphouse.vocabulary import Measured

DEFAULT_EF = 256  # the engine's own default for hnsw_candidate_list_size_for_search
DEFAULT_OVERSAMPLING = 20
WIDEST = 16_384  # no search of a graph goes wider: an exact one is as fast by then
GRANULE = 512  # rows read together around a row that passes a filter
# An exact search of so many bytes of vectors takes about a second on two cores; beyond it auto
# takes an index even unmeasured, and says so.
QUICK_BYTES = 8e9
UNMEASURED_EF = 2048
_FIXED = "the only width that the server lets this user search at"
_GROWN = 1.1  # figures measured on a table that has grown more since say nothing of it
_COARSE = frozenset({"i8", "b1"})  # too rough to tell which rows of a filtered search are nearest


@dataclass(frozen=True)
class Plan:
    """The way a search takes, and why. ``width`` is the ef of hnsw or the oversampling of codes;
    ``filtered`` says what is done about a filter."""

    mode: Literal["exact", "codes", "hnsw"]
    width: int | None
    recall: float | None
    reason: str
    filtered: str = ""


@dataclass(frozen=True)
class Figures:
    """The measurements that speak for a request: those of its kind of query and of its k."""

    exact: Measured | None
    approximate: tuple[Measured, ...]

    def good(self) -> list[Measured]:
        """Of each approximate mode the narrowest that reaches its target by more than the error of
        measuring, fastest first."""
        reached = [e for e in self.approximate if e.recall - e.standard_error >= e.target]
        narrowest = [
            min((e for e in reached if e.mode == mode), key=lambda e: e.width)
            for mode in {e.mode for e in reached}
        ]
        return sorted(narrowest, key=lambda e: e.milliseconds)

    def best(self) -> Measured | None:
        """What mode auto takes: the fastest that is good, or exact where nothing is faster; None
        where nothing was measured."""
        ways = [*self.good()[:1], *([self.exact] if self.exact else [])]
        return min(ways, key=lambda e: e.milliseconds, default=None)

    def recall(self, mode: str, width: int, needed: int) -> float | None:
        """What was measured at this very width: for codes, with as many rows compared exactly."""
        for e in self.approximate:
            is_same = e.width == width if mode == "hnsw" else scaled(e, needed) == width
            if e.mode == mode and is_same:
                return e.recall
        return None

    def milliseconds(self, width: int) -> float:
        """The time of an HNSW search of ``width``, between the widths that were measured (and in
        proportion beyond the last)."""
        ladder = sorted((e.width, e.milliseconds) for e in self.approximate if e.mode == "hnsw")
        below = [step for step in ladder if step[0] <= width]
        above = [step for step in ladder if step[0] >= width]
        if not below or not above:
            near = ladder[0] if not below else ladder[-1]
            return near[1] * max(1.0, width / near[0])
        (w0, t0), (w1, t1) = below[-1], above[0]
        return t0 if w0 == w1 else t0 + (t1 - t0) * (width - w0) / (w1 - w0)


def taken_by_auto(entries: Sequence[Measured]) -> list[Measured]:
    """What mode auto takes for each kind of query by measurements of one k."""
    best = []
    for query in sorted({entry.query for entry in entries}):
        mine = [entry for entry in entries if entry.query == query]
        exact = next((entry for entry in mine if entry.mode == "exact"), None)
        best.append(Figures(exact, tuple(e for e in mine if e.mode != "exact")).best())
    return [entry for entry in best if entry is not None]


def figures_for(request: Request, kind: str, facts: TableFacts) -> Figures:
    """The measurements of the smallest measured k that covers what ``request`` needs, for a query
    of ``kind`` (text or image; anything else counts as text, the harder one), and only of the
    index, the codes and about as many rows as the table has now."""
    valid = {"exact": "", "codes": facts.info.codes, "hnsw": _index_type(request, facts)}
    wanted = (request.modality, request.metric, kind if kind == "image" else "text")
    known = [
        e
        for e in facts.info.measured
        if (e.modality, e.metric, e.query) == wanted
        and e.k >= request.needed
        and facts.rows <= e.rows * _GROWN
        and (e.mode == "exact" or e.index == valid[e.mode])
        and is_allowed(facts, e.mode, _width(e, request.needed), request.needed)
    ]
    least = min((e.k for e in known), default=0)
    known = [e for e in known if e.k == least]
    exact = next((e for e in known if e.mode == "exact"), None)
    return Figures(exact, tuple(e for e in known if e.mode != "exact"))


def scaled(entry: Measured, needed: int) -> int:
    """The oversampling with which codes compare as many rows exactly, for ``needed`` hits, as they
    did when ``entry`` was measured."""
    return math.ceil(entry.width * entry.k / needed)


def _width(entry: Measured, needed: int) -> int:
    return scaled(entry, needed) if entry.mode == "codes" else entry.width


def _index_type(request: Request, facts: TableFacts) -> str | None:
    index = facts.index(request.modality, request.metric)
    return index.type if index and index.is_built else None


def choose(
    request: Request, kind: str, facts: TableFacts, selectivity: float | None = None
) -> Plan:
    """How to answer ``request`` for a query of ``kind``, but for its filter, which ``selectivity``
    stands for: the estimated share of rows that pass it. Only an HNSW search needs to know.

    Raises QueryError where a mode is asked for that the table does not have.
    """
    figures = figures_for(request, kind, facts)
    if request.mode == "auto":
        plan = _auto(request, facts, figures)
    elif request.mode == "hnsw":
        plan = _hnsw(request, facts, figures)
    elif request.mode == "codes":
        plan = _codes(request, facts, figures)
    else:
        plan = exact_plan("asked for")
    if selectivity is None or plan.mode != "hnsw":
        return plan
    return _with_filter(plan, selectivity, request, facts, figures)


def exact_plan(reason: str, filtered: str = "") -> Plan:
    return Plan("exact", None, 1.0, reason, filtered)


def _auto(request: Request, facts: TableFacts, figures: Figures) -> Plan:
    best = figures.best()
    if best and figures.exact and figures.good():
        if best.mode == "exact":
            return exact_plan("measured to be faster than anything else here")
        width = best.width if best.mode == "hnsw" else scaled(best, request.needed)
        if best.mode == "codes" and width > MAX_OVERSAMPLING:
            return exact_plan("the codes would have to be oversampled more than the engine does")
        reason = f"measured to be fastest at recall {best.target} or better"
        if best.mode == "hnsw" and facts.features.fixed_width is not None:
            reason = f"{_FIXED}, measured to reach recall {best.target}"
        return Plan(_mode(best), width, best.recall, reason)
    index = facts.index(request.modality, request.metric)
    if index is None and (facts.info.codes == "none" or request.metric != "cosine"):
        return exact_plan("there is no index")
    if index is not None and not index.is_built:
        return exact_plan(f"{index.name} has no graph: build it with cliphouse index")
    why = _why_unmeasured(request, facts, figures)
    if index is None or facts.vector_bytes <= QUICK_BYTES:
        return exact_plan(why)
    return _unwillingly(request, facts, figures, f"{why}; an exact search would take seconds")


def _unwillingly(request: Request, facts: TableFacts, figures: Figures, reason: str) -> Plan:
    """HNSW where no width is known to be good: the best one that was measured, if any was."""
    measured = [e for e in figures.approximate if e.mode == "hnsw"]
    if measured:
        best = max(measured, key=lambda e: (e.recall, -e.width))
        return Plan("hnsw", best.width, best.recall, reason)
    width = facts.features.fixed_width or max(UNMEASURED_EF, request.needed)
    if not is_allowed(facts, "hnsw", width, request.needed):
        return exact_plan("the server does not let this user search so wide")
    return Plan("hnsw", width, None, reason)


def _why_unmeasured(request: Request, facts: TableFacts, figures: Figures) -> str:
    if (fixed := facts.features.fixed_width) is not None:
        return f"the server lets this user search at width {fixed} alone, not known to be good"
    if figures.approximate:
        target = figures.approximate[0].target
        return f"no measured width reaches recall {target}"
    measured = [e for e in facts.info.measured if e.modality == request.modality]
    if measured and max(e.k for e in measured) < request.needed:
        return f"recall was measured for k up to {max(e.k for e in measured)}"
    if measured and max(e.rows for e in measured) * _GROWN < facts.rows:
        rows = max(e.rows for e in measured)
        return (
            f"recall was measured on {rows:,} rows, and there are {facts.rows:,}: run cliphouse "
            "recall --save"
        )
    if "text" not in facts.info.modalities:
        return "recall for such queries cannot be measured without text embeddings"
    return "recall is not measured: run cliphouse recall --save"


def _hnsw(request: Request, facts: TableFacts, figures: Figures) -> Plan:
    index = facts.index(request.modality, request.metric)
    if index is None or not index.is_built:
        where = f"{request.metric} index on {embedding_column(request.modality)}"
        what = f"no {where}" if index is None else f"the {where} has no graph"
        raise QueryError(
            f"{what}: build it with cliphouse index {request.modality} --metric {request.metric}, "
            "or search with --mode exact"
        )
    saved = next((e.width for e in figures.good() if e.mode == "hnsw"), DEFAULT_EF)
    fixed = facts.features.fixed_width
    ef = max(request.ef or fixed or saved, request.needed)
    if not is_allowed(facts, "hnsw", ef, request.needed):
        at = "" if fixed is None else f"; it is {fixed} there"
        raise QueryError(
            f"the server does not let this user search an index at width {ef}{at}: leave --ef out, "
            "ask for fewer rows, or search with --mode exact"
        )
    reason = "asked for" if fixed is None else f"asked for, at {_FIXED}"
    return Plan("hnsw", ef, figures.recall("hnsw", ef, request.needed), reason)


def _codes(request: Request, facts: TableFacts, figures: Figures) -> Plan:
    if facts.info.codes == "none":
        raise QueryError(
            "this table keeps no codes: they are chosen when it is made, with "
            "cliphouse ingest --codes rabitq; search with --mode exact"
        )
    if request.metric != "cosine":
        raise QueryError("mode codes is for the cosine distance only; search with --mode exact")
    good = (e for e in figures.good() if e.mode == "codes")
    saved = next((scaled(e, request.needed) for e in good), DEFAULT_OVERSAMPLING)
    width = request.oversampling or min(saved, MAX_OVERSAMPLING)
    if not is_allowed(facts, "codes", width, request.needed):
        raise QueryError(
            "the server does not let this user search by codes; search with --mode exact"
        )
    return Plan("codes", width, figures.recall("codes", width, request.needed), "asked for")


def _with_filter(
    plan: Plan, selectivity: float, request: Request, facts: TableFacts, figures: Figures
) -> Plan:
    """An HNSW ``plan`` with a filter: the graph must be searched 1 / selectivity times as wide for
    as many candidates to pass. The recall that was measured is not that of such a search."""
    assert plan.width is not None
    share = f"about {selectivity:.2%} of the rows pass"
    scanned = f"{share}; applied while scanning"
    width = math.ceil(max(plan.width, 2 * request.needed) / max(selectivity, 1e-9))
    index = facts.index(request.modality, request.metric)
    if width > WIDEST or index is None or index.quantization in _COARSE:
        return exact_plan("too few rows pass the filter for the index", scanned)
    if not is_allowed(facts, "hnsw", width, request.needed):
        return exact_plan("the server does not let this user search as wide as that takes", scanned)
    exact = figures.exact
    if request.mode == "auto" and exact:
        # Every granule with a row that passes is read whole.
        exact_ms = exact.milliseconds * min(1.0, selectivity * GRANULE)
        if figures.milliseconds(width) >= exact_ms:
            return exact_plan("faster than the index with this filter", scanned)
    note = f"{share}; the search is that much wider, ef {plan.width} to {width}"
    if plan.recall is not None:
        note += f"; recall was measured without a filter, as {plan.recall:.3f}"
    return replace(plan, width=width, recall=None, filtered=note)


def _mode(entry: Measured) -> Literal["codes", "hnsw"]:
    return "codes" if entry.mode == "codes" else "hnsw"
