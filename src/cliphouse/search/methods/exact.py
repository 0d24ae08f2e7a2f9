"""Mode exact: every row is compared, so the answer is the true one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cliphouse.engine.features import USE_INDEX
from cliphouse.schema.facts import TableFacts
from cliphouse.search.methods.figures import Figures
from cliphouse.search.methods.method import (
    APPLIED,
    Kept,
    Method,
    Plan,
    Search,
    Settings,
    exact_plan,
)
from cliphouse.vocabulary import Measured


class Exact(Method):
    """A scan of the stored vectors."""

    name = "exact"
    label = "compare every row"
    sorts_by_id = True

    def structure(self, search: Search, facts: TableFacts) -> str:
        return ""

    def settings(self, facts: TableFacts, plan: Plan, limit: int, taken: int | None) -> Settings:
        # The second sort key keeps the index out by itself; this says so.
        return {USE_INDEX: 0}

    def kept(self, modalities: int) -> Iterator[Kept]:
        yield Kept(self.name)

    def plan(self, search: Search, facts: TableFacts, figures: Figures) -> Plan:
        return exact_plan("asked for")

    def measured_plan(self, best: Measured, search: Search, facts: TableFacts) -> Plan:
        return exact_plan("measured to be faster than anything else here")

    def filtered_plan(
        self,
        plan: Plan,
        selectivity: float,
        search: Search,
        facts: TableFacts,
        figures: Figures,
    ) -> Plan:
        return replace(plan, recall=1.0, filtered=APPLIED)
