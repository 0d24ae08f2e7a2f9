"""The measurements that a plan goes by: which search was good enough, and which was fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cliphouse.vocabulary import Measured


@dataclass(frozen=True)
class Figures:
    """The measurements that hold for a request: those of its kind of query and of the smallest k
    that covers it; ``larger`` are those of every larger k."""

    exact: Measured | None
    approximate: tuple[Measured, ...]
    larger: tuple[Measured, ...] = ()

    @classmethod
    def of(cls, entries: Sequence[Measured]) -> Figures:
        least = min((entry.k for entry in entries), default=0)
        nearest = [entry for entry in entries if entry.k == least]
        exact = next((entry for entry in nearest if entry.mode == "exact"), None)
        return cls(
            exact,
            tuple(entry for entry in nearest if entry.mode != "exact"),
            tuple(entry for entry in entries if entry.k > least),
        )

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
        """The time of a search of ``width``: along lines through the times of the widths that were
        measured, and not less than that of the narrowest."""
        ladder = sorted((e.width, e.milliseconds) for e in self.of_mode(mode))
        return max(ladder[0][1], _along(ladder, width))

    def width_for(self, mode: str, rows: float) -> float | None:
        """The width at which the nearest ``rows`` are found at the target recall: along lines
        through the narrowest good widths of the k that were measured. None if fewer than two k
        have one."""
        ladder: list[tuple[float, float]] = []
        every = (*self.approximate, *self.larger)
        for k in sorted({entry.k for entry in every}):
            good = Figures.of([entry for entry in every if entry.k == k]).good_of(mode)
            if good is not None:
                # What finds more rows is no narrower: measured, it may be, by the error.
                ladder.append((k, max(good.width, *(width for _, width in ladder), 0)))
        return _along(ladder, rows) if len(ladder) > 1 else None


def _along(points: Sequence[tuple[float, float]], x: float) -> float:
    """The height at ``x`` of the lines from one rising point to the next. Outside of them it is
    that of the line through the first and the last, which errors of measuring move least; through
    the origin if there is only one point."""
    inside = [at for at in range(1, len(points)) if points[at - 1][0] <= x <= points[at][0]]
    first, last = (inside[0] - 1, inside[0]) if inside else (0, len(points) - 1)
    (x0, y0), (x1, y1) = (points[first] if last else (0.0, 0.0)), points[last]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def taken_by_auto(entries: Sequence[Measured]) -> list[Measured]:
    """What mode auto takes for each kind of query, by measurements of one k."""
    best = []
    for query in sorted({entry.query for entry in entries}):
        best.append(Figures.of([entry for entry in entries if entry.query == query]).best())
    return [entry for entry in best if entry is not None]
