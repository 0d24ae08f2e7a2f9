"""Mode exact: every row is compared, so the answer is the true one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cliphouse.engine.features import BLOCK_BYTES, READ_BYTES, READ_ROWS, USE_INDEX
from cliphouse.schema.facts import TableFacts
from cliphouse.search.methods.figures import Figures
from cliphouse.search.methods.method import (
    APPLIED,
    Kept,
    Method,
    Plan,
    Search,
    Settings,
    Stage,
    exact_plan,
)
from cliphouse.vocabulary import Measured

# Each thread of a scan gets at least so many rows. By the engine's default of 163,840 rows, and 24
# times as many bytes, a single thread reads a table of 100,000 (docs/benchmarks/layout.md).
READER_ROWS = 8192
_READERS: Settings = {READ_ROWS: READER_ROWS, READ_BYTES: 2**20}
# Vectors are compared in blocks of so many bytes: few enough for the processor's caches, and enough
# to pay for what each block costs. The engine's default is a quarter, and takes a sixth longer.
_BLOCKS: Settings = {BLOCK_BYTES: 4_000_000}


class Exact(Method):
    """A scan of the stored vectors."""

    name = "exact"
    label = "compare every row"
    sorts_by_id = True

    def structure(self, search: Search, facts: TableFacts) -> str:
        return ""

    def settings(self, facts: TableFacts, plan: Plan, stage: Stage) -> Settings:
        # The second sort key keeps the index out by itself; this says so.
        return {USE_INDEX: 0, **_READERS, **_BLOCKS}

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
