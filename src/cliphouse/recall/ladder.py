"""Which widths of a ladder are measured: all up to the last that gains, or those around the
first good one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_ENOUGH = 0.999  # at this recall no wider step is measured
_STUCK = 3  # nor after so many steps without a gain, as with a graph of bits
_FIRST = 4  # a search for the first good step begins at this fraction of the ladder


@dataclass(frozen=True)
class Step:
    """A measured step. ``is_good`` says that its recall reaches the target by more than the error
    of measuring, ``is_slow`` that an exact search is faster."""

    recall: float
    is_good: bool
    is_slow: bool


def walk(steps: int, measure: Callable[[int], Step]) -> None:
    """Measure the steps from the narrowest on, until a wider one gains nothing or is of no use."""
    best, stuck = 0.0, 0
    for place in range(steps):
        step = measure(place)
        stuck = stuck + 1 if step.recall <= best else 0
        best = max(best, step.recall)
        if step.recall >= _ENOUGH or (step.is_good and step.is_slow) or stuck == _STUCK:
            return


def bisect(steps: int, measure: Callable[[int], Step]) -> None:
    """Measure the first good step, the one before it, and few others.

    The search begins in the narrow part of the ladder, where steps are cheap, doubles its stride
    until a step is good, and halves what is between. It gives up if wider steps gain nothing.
    """
    bad, good = -1, steps
    place, stride, best = steps // _FIRST, 2, 0.0
    while place < steps:
        step = measure(place)
        if step.is_good:
            good = place
            break
        if bad >= 0 and step.recall <= best:
            return
        bad, best = place, step.recall
        place = min(place + stride, steps - 1) if place < steps - 1 else steps
        stride *= 2
    while good - bad > 1:
        middle = (bad + good) // 2
        if measure(middle).is_good:
            good = middle
        else:
            bad = middle
