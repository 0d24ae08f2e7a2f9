"""A search method in a file of its own: a scan that has a width. Run as a program, it registers the
method as a package of someone's own would, and then is the cliphouse command."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from cliphouse.engine.features import USE_INDEX
from cliphouse.schema.facts import TableFacts
from cliphouse.search.methods import METHODS
from cliphouse.search.methods.figures import Figures
from cliphouse.search.methods.method import Kept, Method, Plan, Search, Settings, Stage, Width
from cliphouse.vocabulary import Measured


class Toy(Method):
    name = "toy"
    label = "a toy"
    width = Width("probes", "How many toys are looked at.", " probes ", 99, (3, 5))
    sorts_by_id = True

    def structure(self, search: Search, facts: TableFacts) -> str:
        return "toy box"

    def settings(self, facts: TableFacts, plan: Plan, stage: Stage) -> Settings:
        return {USE_INDEX: 0}

    def kept(self, modalities: int) -> Iterator[Kept]:
        yield Kept("toys")

    def plan(self, search: Search, facts: TableFacts, figures: Figures) -> Plan:
        return Plan(self.name, search.width or 3, None, "asked for")

    def measured_plan(self, best: Measured, search: Search, facts: TableFacts) -> Plan:
        return Plan(self.name, best.width, best.recall, "measured")


METHODS[Toy.name] = Toy()

if __name__ == "__main__":
    from cliphouse.cli import main

    sys.exit(main())
