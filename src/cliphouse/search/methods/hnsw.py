"""Mode hnsw: the graph of the engine's vector_similarity index (Malkov and Yashunin 2016).

The graph keeps its own, rounded copy of the vectors, so its candidates are compared exactly with
the stored ones. A filter applies to the candidates alone: with one, the graph is searched wider.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from cliphouse.engine.features import LIMIT, MULTIPLIER, RESCORING, STRATEGY, WIDTH
from cliphouse.errors import QueryError
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.methods.figures import Figures
from cliphouse.search.methods.method import (
    APPLIED,
    Kept,
    Method,
    Plan,
    Search,
    Settings,
    Stage,
    Width,
    exact_plan,
)
from cliphouse.vocabulary import Measured

DEFAULT_EF = 256  # the engine's own default for hnsw_candidate_list_size_for_search
WIDEST = 16_384  # no search of a graph goes wider: an exact one is as fast by then
UNMEASURED_EF = 2048
# How many times as many candidates as asked for are compared exactly, and at least how many more.
# They bring back what the rounded numbers of the graph lose (docs/benchmarks/layout.md), and some
# make up for deleted rows.
_CANDIDATES = {"f64": 1.0, "f32": 1.0, "f16": 1.1, "bf16": 1.1, "i8": 5.0, "b1": 10.0}
_MORE_CANDIDATES = 10
OWN = IndexSpec()
GUIDE = IndexSpec(m=64, ef_construction=256)
_MAX_MULTIPLIER = 1000.0  # the engine's own limit for vector_search_index_fetch_multiplier
_HARDLY, _NEARLY = 0.0001, 0.995  # shares beyond which two digits would say 0 or all
_WIDER = 4  # how much wider a search that found too few rows tries again
_COARSE = frozenset({"b1"})  # too rough to tell which rows of a filtered search are nearest
# What reading the columns of a filter takes, as shares: of the time that a search of the graph
# takes for its width, since they are read around each candidate, and of an exact search's time.
# Fitted to docs/benchmarks/search.md.
_FILTER_READS, _FILTER_SCANS = 0.55, 0.14
_FIXED = "the only width that the server lets this user search at"


class Hnsw(Method):
    """An index on the embeddings; its width is ef, the candidates that a search keeps."""

    name = "hnsw"
    label = "the HNSW index"
    width = Width(
        option="ef",
        help="The search width of mode hnsw.",
        mark=" ef ",
        most=100_000,
        ladder=(
            *(64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192),
            *(12_288, 16_384),
        ),
    )
    needs_selectivity = True

    def structure(self, search: Search, facts: TableFacts) -> str | None:
        index = facts.index(search.modality, search.metric)
        return index.type if index and index.is_built else None

    def settings(self, facts: TableFacts, plan: Plan, stage: Stage) -> Settings:
        width = plan.width or DEFAULT_EF
        settings: Settings = {WIDTH: width, LIMIT: _most_rows(width, stage.limit)}
        if stage.is_own:
            times = _times(width, stage.candidates)
            return settings | {STRATEGY: "postfilter", RESCORING: 0, MULTIPLIER: times}
        # Distances are then those of the stored vectors, even if part of the table has no graph.
        return settings | {RESCORING: 1, MULTIPLIER: _times(stage.candidates, stage.limit)}

    def candidates(self, search: Search, facts: TableFacts, limit: int) -> int:
        index = facts.index(search.modality, search.metric)
        return candidates_of(index.quantization if index else "bf16", limit)

    def kept(self, modalities: int) -> Iterator[Kept]:
        for index in (OWN, GUIDE):
            for indexed, which in enumerate(("image", "both")[:modalities], 1):
                label = f"{self.name} {index.m}/{index.ef_construction} {which}"
                yield Kept(label, index=index, indexed=indexed)

    def plan(self, search: Search, facts: TableFacts, figures: Figures) -> Plan:
        index = facts.index(search.modality, search.metric)
        if index is None or not index.is_built:
            where = f"{search.metric} index on {embedding_column(search.modality)}"
            what = f"no {where}" if index is None else f"the {where} has no graph"
            raise QueryError(
                f"{what}: build it with cliphouse index {search.modality} --metric "
                f"{search.metric}, or search with --mode exact"
            )
        good, fixed = figures.good_of(self.name), facts.features.fixed_width
        saved = good.width if good else DEFAULT_EF
        ef = max(search.width or fixed or saved, search.needed)
        if not self.is_allowed(facts, ef, search.needed):
            at = "" if fixed is None else f"; it is {fixed} there"
            raise QueryError(
                f"the server does not let this user search an index at width {ef}{at}: leave --ef "
                "out, ask for fewer rows, or search with --mode exact"
            )
        reason = "asked for" if fixed is None else f"asked for, at {_FIXED}"
        same = (entry.recall for entry in figures.of_mode(self.name) if entry.width == ef)
        return Plan(self.name, ef, next(same, None), reason)

    def measured_plan(self, best: Measured, search: Search, facts: TableFacts) -> Plan:
        reason = f"measured to be fastest at recall {best.target} or better"
        if facts.features.fixed_width is not None:
            reason = f"{_FIXED}, measured to reach recall {best.target}"
        return Plan(self.name, best.width, best.recall, reason)

    def is_allowed(self, facts: TableFacts, width: int, needed: int) -> bool:
        features = facts.features
        if features.settings is None:
            return True
        fixed = features.fixed_width
        if not (features.may_set(WIDTH, width) if fixed is None else width == fixed):
            return False
        limit = int(features.value(LIMIT) or 0)
        most = max((candidates_of(i.quantization, needed) for i in facts.indexes), default=needed)
        reaches = most <= limit or features.may_set(LIMIT, _most_rows(width, needed))
        return reaches and needed <= width

    def ladder(self, facts: TableFacts, k: int) -> list[int]:
        fixed = facts.features.fixed_width
        widths = self.width.ladder if fixed is None else (fixed,)
        return [ef for ef in widths if ef > k and self.is_allowed(facts, ef, k + 1)]

    def shortlist(self, facts: TableFacts, plan: Plan, rows: int) -> Settings | None:
        """The rows that the graph finds, by its own rounded distances. How many are asked for makes
        no difference to the first of them, up to ef. If the table has several graphs, each has
        candidates of its own."""
        if facts.placement.cluster is not None or facts.largest_part < facts.stored:
            return None
        may = facts.features.may_set
        if not (may(RESCORING, 0) and may(MULTIPLIER, 1.0)):
            return None
        return self.settings(facts, plan, Stage(rows, rows, is_own=False)) | {RESCORING: 0}

    def not_ready(self, search: Search, facts: TableFacts) -> str | None:
        index = facts.index(search.modality, search.metric)
        if index is None or index.is_built:
            return None
        return f"{index.name} has no graph: build it with cliphouse index"

    def unmeasured_reason(self, facts: TableFacts) -> str | None:
        fixed = facts.features.fixed_width
        if fixed is None:
            return None
        return f"the server lets this user search at width {fixed} alone, not known to be good"

    def unmeasured_plan(
        self, search: Search, facts: TableFacts, figures: Figures, reason: str
    ) -> Plan | None:
        """The best width that was measured, or else a wide one."""
        measured = figures.of_mode(self.name)
        if measured:
            best = max(measured, key=lambda e: (e.recall, -e.width))
            return Plan(self.name, best.width, best.recall, reason)
        width = facts.features.fixed_width or max(UNMEASURED_EF, search.needed)
        if not self.is_allowed(facts, width, search.needed):
            return exact_plan("the server does not let this user search so wide")
        return Plan(self.name, width, None, reason)

    def is_in_stages(self, facts: TableFacts, is_filtered: bool) -> bool:
        """If there is a filter, or the engine may not be told to compare the candidates exactly."""
        may = facts.features.may_set
        return is_filtered or not (may(RESCORING, 1) and may(MULTIPLIER, 2.0))

    def filtered_plan(
        self,
        plan: Plan,
        selectivity: float,
        search: Search,
        facts: TableFacts,
        figures: Figures,
    ) -> Plan:
        """A filter applies to what the graph finds, so that of the rows nearest to the query as
        many must be found as have enough that pass among them; no recall was measured for that."""
        share = f"{_share(selectivity, facts.rows)} of the rows pass"
        scanned = f"{share}; {APPLIED}"
        width = _filtered_width(plan, max(selectivity, 1e-9), search, figures)
        index = facts.index(search.modality, search.metric)
        if width > WIDEST or index is None or index.quantization in _COARSE:
            return exact_plan("too few rows pass the filter for the index", scanned)
        if not self.is_allowed(facts, width, search.needed):
            why = "the server does not let this user search as wide as that takes"
            return exact_plan(why, scanned)
        if search.width is None and figures.exact and figures.of_mode(self.name):
            # Every granule with a row that passes is read whole.
            exact_ms = figures.exact.milliseconds * min(1.0, selectivity * facts.granule)
            # The candidates are compared by a statement around, which takes as long as a narrow
            # search.
            narrow, wide = (figures.milliseconds(self.name, each) for each in (0, width))
            ms = narrow + wide + _FILTER_READS * (wide - narrow)
            if ms >= (1 + _FILTER_SCANS) * exact_ms:
                return exact_plan("faster than the index with this filter", scanned)
        note = f"{share}; the search is that much wider, ef {plan.width} to {width}"
        if plan.recall is not None:
            note += f"; recall was measured without a filter, as {plan.recall:.3f}"
        return replace(plan, width=width, recall=None, filtered=note)

    def wider_plan(
        self, plan: Plan, facts: TableFacts, limit: int, is_filtered: bool
    ) -> Plan | None:
        """Fewer rows pass the filter near here than elsewhere. Without one rows were deleted, and
        are still in the graph: a wider search would find them too."""
        width = (plan.width or 0) * _WIDER
        if not is_filtered or width > WIDEST or not self.is_allowed(facts, width, limit):
            return None
        note = f"{plan.filtered}, then {width} since too few passed"
        return replace(plan, width=width, recall=None, filtered=note)


def candidates_of(quantization: str, limit: int) -> int:
    """How many candidates of a graph with such numbers are compared exactly to find ``limit``
    rows."""
    times = _CANDIDATES.get(quantization, max(_CANDIDATES.values()))
    return max(limit + _MORE_CANDIDATES, math.ceil(limit * times))


def _share(selectivity: float, rows: int) -> str:
    """The estimated share of ``rows`` in words; of rows of which none was seen to pass, half of one
    is estimated."""
    if selectivity < _HARDLY or selectivity * rows < 1:
        return "hardly any"
    return "nearly all" if selectivity > _NEARLY else f"about {selectivity:.2%}"


def _filtered_width(plan: Plan, selectivity: float, search: Search, figures: Figures) -> int:
    """The width at which enough of the rows found pass a filter: that for the nearest n rows, n so
    large that fewer than ``needed`` of them pass in one search of a thousand. If recall at several
    k has not told how the width grows with n, it grows in proportion, which is too wide."""
    least = max(plan.width or DEFAULT_EF, 2 * search.needed)
    passing = search.needed + 3 * math.sqrt(search.needed)  # three standard deviations more
    nearest = passing / selectivity
    known = None if search.width else figures.width_for(Hnsw.name, nearest)
    return math.ceil(least / selectivity if known is None else max(least, known, 2 * nearest))


def _most_rows(width: int, needed: int) -> int:
    """The rows up to which a search may use an index; above the engine's own limit it would
    silently scan them all."""
    return 10 * max(width, needed)


def _times(wanted: int, limit: int) -> float:
    return min(_MAX_MULTIPLIER, max(1.0, round(wanted / limit, 3)))
