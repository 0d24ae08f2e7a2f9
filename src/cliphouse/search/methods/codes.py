"""Mode codes: short codes of all vectors are scanned, and the best of them compared exactly.

The engine's Quantized codec keeps the codes beside the vectors; nothing is built or held in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from cliphouse.engine.features import IGNORE_INDEXES, MULTIPLIER, USE_CODES
from cliphouse.schema.facts import TableFacts
from cliphouse.search.methods.figures import Figures
from cliphouse.search.methods.method import (
    Kept,
    Method,
    Plan,
    Search,
    Settings,
    Stage,
    Width,
    exact_plan,
    refuse,
)
from cliphouse.vocabulary import Measured

DEFAULT_OVERSAMPLING = 20
MAX_OVERSAMPLING = 1000  # the engine's own limit for vector_search_index_fetch_multiplier


class QuantizedCodes(Method):
    """Codes of 1 or 2 bits a dimension; its width is how many times k rows are compared exactly."""

    name = "codes"
    label = "quantized codes"
    width = Width(
        option="oversampling",
        help="Mode codes compares this many times k rows exactly.",
        mark=" x",
        most=MAX_OVERSAMPLING,
        ladder=(2, 5, 10, 20, 50, 100, 200, 500, 1000),
    )

    def structure(self, search: Search, facts: TableFacts) -> str | None:
        is_there = facts.info.codes != "none" and search.metric == "cosine"
        return facts.info.codes if is_there else None

    def settings(self, facts: TableFacts, plan: Plan, stage: Stage) -> Settings:
        settings: Settings = {USE_CODES: 1, MULTIPLIER: plan.width or DEFAULT_OVERSAMPLING}
        if facts.indexes:
            settings[IGNORE_INDEXES] = ",".join(index.name for index in facts.indexes)
        return settings

    def kept(self, modalities: int) -> Iterator[Kept]:
        yield Kept("rabitq", codes="rabitq")
        yield Kept("turboquant", codes="turboquant")

    def plan(self, search: Search, facts: TableFacts, figures: Figures) -> Plan:
        if facts.info.codes == "none":
            raise refuse(
                "this table keeps no codes: they are chosen when it is made, with "
                "cliphouse ingest --codes rabitq"
            )
        if search.metric != "cosine":
            raise refuse("mode codes is for the cosine distance only")
        good = figures.good_of(self.name)
        saved = self.same_work(good, search.needed) if good else DEFAULT_OVERSAMPLING
        width = search.width or min(saved, MAX_OVERSAMPLING)
        if not self.is_allowed(facts, width, search.needed):
            raise refuse("the server does not let this user search by codes")
        return Plan(self.name, width, self._recall(figures, width, search.needed), "asked for")

    def measured_plan(self, best: Measured, search: Search, facts: TableFacts) -> Plan:
        width = self.same_work(best, search.needed)
        if width > MAX_OVERSAMPLING:
            return exact_plan("the codes would have to be oversampled more than the engine does")
        reason = f"measured to be fastest at recall {best.target} or better"
        return Plan(self.name, width, best.recall, reason)

    def is_allowed(self, facts: TableFacts, width: int, needed: int) -> bool:
        features = facts.features
        return features.may_set(USE_CODES, 1) and features.may_set(MULTIPLIER, width)

    def same_work(self, entry: Measured, needed: int) -> int:
        return math.ceil(entry.width * entry.k / needed)

    def _recall(self, figures: Figures, width: int, needed: int) -> float | None:
        """What was measured with as many rows compared exactly."""
        same = (e for e in figures.of_mode(self.name) if self.same_work(e, needed) == width)
        return next((entry.recall for entry in same), None)
