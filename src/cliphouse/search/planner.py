"""Choosing the method of a search, and its width.

Nothing approximate is taken by itself without its measured recall: mode auto takes an approximate
method only if ``cliphouse recall`` found that it reaches the target for this kind of query, and
that it is faster than the exact one.
"""

from __future__ import annotations

from cliphouse.schema.facts import TableFacts
from cliphouse.search.methods import AUTO, METHODS, Method, method_of
from cliphouse.search.methods.figures import Figures
from cliphouse.search.methods.method import Plan, Search, exact_plan
from cliphouse.search.request import Request
from cliphouse.vocabulary import AUTO_KS
from cliphouse.wording import counted

# An exact search of so many bytes of vectors takes about a second on two cores; beyond it auto
# takes an index even unmeasured, and says so.
QUICK_BYTES = 8e9
_GROWN = 1.1  # figures measured on a table that has grown more since say nothing of it


def choose(
    request: Request, kind: str, facts: TableFacts, selectivity: float | None = None
) -> Plan:
    """How to answer ``request`` for a query of ``kind`` (text or image; anything else counts as
    text, the harder one).

    ``selectivity`` is the estimated share of rows that pass the request's filter, None for a plan
    without one.

    Raises QueryError if a mode is asked for that the table does not have.
    """
    search = search_of(request)
    figures = figures_for(search, kind, facts)
    if request.mode == AUTO:
        plan = _auto(search, facts, figures)
    else:
        plan = method_of(request.mode).plan(search, facts, figures)
    if selectivity is None:
        return plan
    return method_of(plan.mode).filtered_plan(plan, selectivity, search, facts, figures)


def search_of(request: Request) -> Search:
    """What methods must know of a request."""
    asked = METHODS.get(request.mode)
    width = getattr(request, asked.width.option, None) if asked and asked.width else None
    return Search(request.modality, request.metric, request.needed, width, request.mode == AUTO)


def figures_for(search: Search, kind: str, facts: TableFacts) -> Figures:
    """The measurements of every measured k that covers what is needed, for this kind of query, of
    what the table keeps now and of about as many rows as it has now."""
    wanted = (search.modality, search.metric, kind if kind == "image" else "text")
    known = [
        entry
        for entry in facts.info.measured
        if (entry.modality, entry.metric, entry.query) == wanted
        and entry.k >= search.needed
        and facts.rows <= entry.rows * _GROWN
        and (method := METHODS.get(entry.mode)) is not None
        and entry.index == method.structure(search, facts)
        and method.is_allowed(facts, method.same_work(entry, search.needed), search.needed)
    ]
    return Figures.of(known)


def _auto(search: Search, facts: TableFacts, figures: Figures) -> Plan:
    best = figures.best()
    if best and figures.exact and figures.good():
        return method_of(best.mode).measured_plan(best, search, facts)
    for method in METHODS.values():
        if (why := method.not_ready(search, facts)) is not None:
            return exact_plan(why)
    usable = [
        method
        for method in METHODS.values()
        if method.is_approximate and method.structure(search, facts) is not None
    ]
    if not usable:
        return exact_plan("there is no index")
    why = _why_unmeasured(search, facts, figures, usable)
    if facts.vector_bytes > QUICK_BYTES:
        reason = f"{why}; an exact search would take seconds"
        for method in usable:
            plan = method.unmeasured_plan(search, facts, figures, reason)
            if plan is not None:
                return plan
    return exact_plan(why)


def _why_unmeasured(
    search: Search, facts: TableFacts, figures: Figures, usable: list[Method]
) -> str:
    for method in usable:
        if (why := method.unmeasured_reason(facts)) is not None:
            return why
    if facts.rows < AUTO_KS[0]:
        return f"{counted(facts.rows, 'row')}, too few to measure recall"
    if figures.approximate:
        return f"no measured width reaches recall {figures.approximate[0].target}"
    measured = [e for e in facts.info.measured if e.modality == search.modality]
    if measured and max(e.k for e in measured) < search.needed:
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
