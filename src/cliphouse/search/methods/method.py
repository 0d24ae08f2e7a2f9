"""What a search method is: the contract that each file beside this one fills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from cliphouse.errors import QueryError
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.methods.figures import Figures
from cliphouse.vocabulary import Measured, Metric, Modality

Settings = dict[str, int | float | str]
APPLIED = "applied while scanning"


@dataclass(frozen=True)
class Width:
    """How wide a method searches: a wider search finds more, and takes longer.

    ``option`` names it for users (ef), ``help`` describes it, and ``mark`` stands before a width
    where one is printed (" ef "). ``ladder`` are the widths at which recall is measured.
    """

    option: str
    help: str
    mark: str
    most: int
    ladder: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """How a search is done, and why: the method's name, and its width (None if it has none).

    ``recall`` is the measured recall of just this (None if it was not measured), ``filtered`` says
    what is done about a filter.
    """

    mode: str
    width: int | None
    recall: float | None
    reason: str
    filtered: str = ""


@dataclass(frozen=True)
class Search:
    """What a method must know of a request: ``needed`` nearest rows by the embeddings of
    ``modality``, at the ``width`` that was asked for (None if none was), in mode auto or not."""

    modality: Modality
    metric: Metric
    needed: int
    width: int | None = None
    is_auto: bool = False


@dataclass(frozen=True)
class Kept:
    """What a table keeps for a method beside its vectors, for plans: codes, or a graph on
    ``indexed`` modalities, or nothing."""

    label: str
    codes: Literal["rabitq", "turboquant"] | None = None
    index: IndexSpec | None = None
    indexed: int = 0


@dataclass(frozen=True)
class Stage:
    """What the statement of a search takes from the table: the nearest ``limit`` rows, out of
    ``candidates`` that are compared exactly. ``is_own`` says that a stage of its own finds the
    candidates, and the statement around it compares them."""

    limit: int
    candidates: int
    is_own: bool


class Method(ABC):
    """A way to find the nearest rows. An instance is registered in cliphouse.search.methods.

    ``name`` is the mode that users give, ``label`` a few words for people. ``sorts_by_id`` says
    that rows of the same distance come in the order of their ids.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    width: ClassVar[Width | None] = None
    sorts_by_id: ClassVar[bool] = False
    needs_selectivity: ClassVar[bool] = False

    @property
    def is_approximate(self) -> bool:
        """Whether it may miss rows; only such a method has a width."""
        return self.width is not None

    @abstractmethod
    def structure(self, search: Search, facts: TableFacts) -> str | None:
        """What the table keeps for this method: the index's type or the codes' name ("" if it
        needs nothing). Figures hold for this alone. None if the table has not got it."""

    @abstractmethod
    def settings(self, facts: TableFacts, plan: Plan, stage: Stage) -> Settings:
        """The engine's settings for the statement of a search."""

    @abstractmethod
    def kept(self, modalities: int) -> Iterator[Kept]:
        """What a table with so many modalities can keep for this method, for plans."""

    @abstractmethod
    def plan(self, search: Search, facts: TableFacts, figures: Figures) -> Plan:
        """How to search if a user asks for this method.

        Raises QueryError if the table or the server does not allow it, saying what to do.
        """

    @abstractmethod
    def measured_plan(self, best: Measured, search: Search, facts: TableFacts) -> Plan:
        """How mode auto searches by this method, if ``best`` is the best of the figures."""

    def is_allowed(self, facts: TableFacts, width: int, needed: int) -> bool:
        """Whether the engine lets this user search for ``needed`` rows at just this width."""
        return True

    def same_work(self, entry: Measured, needed: int) -> int:
        """The width that does for ``needed`` rows what ``entry`` did for its k."""
        return entry.width

    def ladder(self, facts: TableFacts, k: int) -> list[int]:
        """The widths at which recall@k can be measured on this table, rising."""
        widths = self.width.ladder if self.width else ()
        return [width for width in widths if self.is_allowed(facts, width, k + 1)]

    def shortlist(self, facts: TableFacts, plan: Plan, rows: int) -> Settings | None:
        """The engine's settings for a statement that lists the first ``rows`` candidates by the
        method's own distances, the nearest first; None if no statement does.

        A search compares just these, as many as ``candidates`` says. So if they are no more than
        the width, one list tells the recall at each k.
        """
        return None

    def not_ready(self, search: Search, facts: TableFacts) -> str | None:
        """Why the table cannot be searched so although it is meant to be; None otherwise."""
        return None

    def unmeasured_reason(self, facts: TableFacts) -> str | None:
        """Why there may be no good figures, if that lies with the server."""
        return None

    def unmeasured_plan(
        self, search: Search, facts: TableFacts, figures: Figures, reason: str
    ) -> Plan | None:
        """How to search a table that is too large to be scanned, if no width is known to be good;
        None to have it scanned all the same."""
        return None

    def candidates(self, search: Search, facts: TableFacts, limit: int) -> int:
        """How many rows are compared exactly to find the nearest ``limit``."""
        return limit

    def is_in_stages(self, facts: TableFacts, is_filtered: bool) -> bool:
        """Whether candidates are found first, and compared exactly by the statement around."""
        return False

    def filtered_plan(
        self,
        plan: Plan,
        selectivity: float,
        search: Search,
        facts: TableFacts,
        figures: Figures,
    ) -> Plan:
        """``plan`` for a search with a filter that the share ``selectivity`` of all rows passes."""
        return replace(plan, recall=None, filtered=APPLIED)

    def wider_plan(
        self, plan: Plan, facts: TableFacts, limit: int, is_filtered: bool
    ) -> Plan | None:
        """What to try if ``plan`` gave too few rows; None to scan them all."""
        return None

    def describe(self, width: int | None) -> str:
        """The method and its width, as in "hnsw ef 512"."""
        return f"{self.name}{self.width.mark}{width}" if self.width else self.name


def exact_plan(reason: str, filtered: str = "") -> Plan:
    """A scan of every row, which any table allows."""
    return Plan("exact", None, 1.0, reason, filtered)


def refuse(why: str) -> QueryError:
    """The error of a method that cannot be used here, with the way out."""
    return QueryError(f"{why}; search with --mode exact")
