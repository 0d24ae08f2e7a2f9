"""The measurements that a plan goes by: which search was good enough, and which was fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cliphouse.vocabulary import Measured


@dataclass(frozen=True)
class Figures:
    """The measurements that hold for a request: those of its kind of query and of its k."""

    exact: Measured | None
    approximate: tuple[Measured, ...]

    @classmethod
    def of(cls, entries: Sequence[Measured]) -> Figures:
        exact = next((entry for entry in entries if entry.mode == "exact"), None)
        return cls(exact, tuple(entry for entry in entries if entry.mode != "exact"))

    def of_mode(self, mode: str) -> list[Measured]:
        return [entry for entry in self.approximate if entry.mode == mode]

    def good(self) -> list[Measured]:
        """Of each approximate method the narrowest search that reaches its target by more than the
        error of measuring, the fastest method first."""
        reached = [e for e in self.approximate if e.recall - e.standard_error >= e.target]
        narrowest = [
            min((e for e in reached if e.mode == mode), key=lambda e: e.width)
            for mode in {e.mode for e in reached}
        ]
        return sorted(narrowest, key=lambda e: e.milliseconds)

    def good_of(self, mode: str) -> Measured | None:
        """The narrowest good search of one method."""
        return next((entry for entry in self.good() if entry.mode == mode), None)

    def best(self) -> Measured | None:
        """What mode auto takes: the fastest that is good, or exact if nothing is faster; None if
        nothing was measured."""
        ways = [*self.good()[:1], *([self.exact] if self.exact else [])]
        return min(ways, key=lambda e: e.milliseconds, default=None)

    def milliseconds(self, mode: str, width: int) -> float:
        """The time of a search of ``width``, interpolated between the widths that were measured,
        and in proportion to the width beyond the widest."""
        ladder = sorted((e.width, e.milliseconds) for e in self.of_mode(mode))
        below = [step for step in ladder if step[0] <= width]
        above = [step for step in ladder if step[0] >= width]
        if not below or not above:
            near = ladder[0] if not below else ladder[-1]
            return near[1] * max(1.0, width / near[0])
        (w0, t0), (w1, t1) = below[-1], above[0]
        return t0 if w0 == w1 else t0 + (t1 - t0) * (width - w0) / (w1 - w0)


def taken_by_auto(entries: Sequence[Measured]) -> list[Measured]:
    """What mode auto takes for each kind of query, by measurements of one k."""
    best = []
    for query in sorted({entry.query for entry in entries}):
        best.append(Figures.of([entry for entry in entries if entry.query == query]).best())
    return [entry for entry in best if entry is not None]
