"""The rounds of a run in one figure each: medians, and how far the rounds lie apart."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import numpy as np

from search.contender import Case
from search.data import Kind
from search.measure import Timing


@dataclass(frozen=True)
class Figure:
    """A case and kind of query over all rounds. ``fastest`` and ``slowest`` are the p50 of the
    rounds that were; all times are milliseconds."""

    rows: int
    contender: str
    case: str
    kind: Kind
    asked: int
    p50: float
    p95: float
    fastest: float
    slowest: float
    recall: float
    full: int
    matching: int
    said: dict[str, int]
    rounds: dict[int, float]  # the p50 of each round by its number

    @classmethod
    def of(cls, timings: list[Timing]) -> Figure:
        first = timings[0]
        halves = [timing.p50 for timing in timings]
        return cls(
            first.rows,
            first.contender,
            first.case,
            first.kind,
            first.asked,
            statistics.median(halves),
            statistics.median(timing.p95 for timing in timings),
            min(halves),
            max(halves),
            statistics.fmean(timing.recall for timing in timings),
            min(timing.full for timing in timings),
            first.matching,
            first.said,
            {timing.round: timing.p50 for timing in timings},
        )


class Summary:
    """The figures of a run, to be asked by size, contender, case and kind of query."""

    def __init__(self, timings: list[Timing]) -> None:
        groups: dict[tuple[int, str, str, str], list[Timing]] = {}
        for timing in timings:
            key = (timing.rows, timing.contender, timing.case, timing.kind)
            groups.setdefault(key, []).append(timing)
        self._figures = {key: Figure.of(group) for key, group in groups.items()}

    def get(self, rows: int, contender: str, case: str, kind: Kind) -> Figure | None:
        """None where it was not measured."""
        return self._figures.get((rows, contender, case, kind))

    def ladder(
        self, rows: int, contender: str, kind: Kind, cases: tuple[Case, ...]
    ) -> list[Figure]:
        """The figures of those cases that were measured."""
        found = (self.get(rows, contender, case.name, kind) for case in cases)
        return [figure for figure in found if figure is not None]

    @property
    def sizes(self) -> list[int]:
        return sorted({figure.rows for figure in self._figures.values()})


def ratio(one: Figure | None, other: Figure | None) -> float | None:
    """How many times the p50 of ``other`` that of ``one`` is: the median over the rounds, each
    taken within the round. None where either is missing."""
    if one is None or other is None:
        return None
    common = one.rounds.keys() & other.rounds.keys()
    if not common:
        return None
    return statistics.median(one.rounds[number] / other.rounds[number] for number in common)


def time_at_recall(ladder: list[Figure], recall: float) -> float | None:
    """The p50 at which a ladder, by rising width, first reaches ``recall``.

    Between two widths the logarithm of the time is taken to be linear in the recall. Where the
    first width is good enough already, its time; None where none is.
    """
    before: Figure | None = None
    for figure in ladder:
        if figure.recall < recall:
            before = figure
            continue
        if before is None:
            return figure.p50
        share = (recall - before.recall) / (figure.recall - before.recall)
        return math.exp((1 - share) * math.log(before.p50) + share * math.log(figure.p50))
    return None


@dataclass(frozen=True)
class Curve:
    """Cost against rows: milliseconds = rows ^ exponent x something, by least squares of the
    logarithms."""

    contender: str
    case: str
    kind: Kind
    points: list[Figure]

    @property
    def exponent(self) -> float:
        if len(self.points) < 2:
            return math.nan
        rows = np.log([figure.rows for figure in self.points])
        times = np.log([figure.p50 for figure in self.points])
        return float(np.polyfit(rows, times, 1)[0])


def curves(summary: Summary, cases: dict[str, Case], kind: Kind) -> list[Curve]:
    """A curve for each contender, given as its name and the case followed."""
    made = []
    for name, case in cases.items():
        found = (summary.get(rows, name, case.name, kind) for rows in summary.sizes)
        points = [figure for figure in found if figure is not None]
        if points:
            made.append(Curve(name, case.name, kind, points))
    return made
