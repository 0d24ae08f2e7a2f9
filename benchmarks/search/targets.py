"""What cliphouse's search is to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from search.contender import Contender
from search.data import CONDITIONS, KINDS, Kind
from search.house import FILTERS, HNSW
from search.libraries import FAISS_HNSW
from search.summary import Figure, Summary, ratio, time_at_recall

RECALLS = (0.8, 0.9, 0.95, 0.99)  # at which HNSW is compared
_AUTO_RECALL: dict[Kind, float] = {"text": 0.95, "image": 0.99}
_FILTER_RECALL = 0.95


@dataclass(frozen=True)
class Target:
    """``figure`` is what was measured, in words; ``reached`` is None where it was not."""

    aim: str
    figure: str
    reached: bool | None


@dataclass(frozen=True)
class _Ratio:
    """The time of ``slower`` as a multiple of that of ``faster``, and the bound it must keep."""

    aim: str
    slower: str
    faster: str
    bound: float
    at_least: bool


_AUTO_SPEED = _Ratio(
    "auto at least 3 times faster than exact Float32", "exact-float32", "auto", 3, True
)
_RATIOS = (
    _Ratio("exact BFloat16 at most 2 times NumPy", "exact-bfloat16", "numpy", 2, False),
    _Ratio("exact Float32 at most 3.5 times NumPy", "exact-float32", "numpy", 3.5, False),
    _Ratio(
        "exact BFloat16 at least 3 times faster than the guide's table",
        "guide-flat", "exact-bfloat16", 3, True,
    ),
    _Ratio(
        "exact Float32 at least 1.8 times faster than the guide's table",
        "guide-flat", "exact-float32", 1.8, True,
    ),
)  # fmt: skip


def targets(summary: Summary, rows: list[int]) -> list[Target]:
    """All targets at the sizes asked for."""
    found: list[Target] = []
    for size in rows:
        found += _auto_recall(summary, size)
    found += _auto_speed(summary, max(rows))
    for size in rows:
        found += _exact(summary, size)
    for size in rows:
        found += _hnsw(summary, size)
    for size in rows:
        found += _filters(summary, size)
    return found


def _auto_recall(summary: Summary, rows: int) -> Iterator[Target]:
    for kind in KINDS:
        figure = summary.get(rows, "auto", "", kind)
        bound = _AUTO_RECALL[kind]
        yield Target(
            f"auto, {rows:,} rows: recall@10 of {kind} queries at least {bound}",
            f"{figure.recall:.3f}" if figure else "not measured",
            figure.recall >= bound if figure else None,
        )


def _auto_speed(summary: Summary, rows: int) -> Iterator[Target]:
    for kind in KINDS:
        yield _ratio_target(summary, _AUTO_SPEED, rows, kind)


def _exact(summary: Summary, rows: int) -> Iterator[Target]:
    for aim in _RATIOS:
        for kind in KINDS:
            yield _ratio_target(summary, aim, rows, kind)


def _ratio_target(summary: Summary, aim: _Ratio, rows: int, kind: Kind) -> Target:
    slower = summary.get(rows, aim.slower, "", kind)
    found = ratio(slower, summary.get(rows, aim.faster, "", kind))
    name = f"{aim.aim}, {rows:,} rows, {kind} queries"
    if found is None:
        return Target(name, "not measured", None)
    return Target(
        name, f"{found:.2f} times", found >= aim.bound if aim.at_least else found <= aim.bound
    )


def _hnsw(summary: Summary, rows: int) -> Iterator[Target]:
    for kind in KINDS:
        ours = _ladder(summary, HNSW, rows, kind)
        theirs = _ladder(summary, FAISS_HNSW, rows, kind)
        for recall in RECALLS:
            name = (
                f"hnsw at most 4 times FAISS HNSW at recall {recall}, {rows:,} rows, {kind} queries"
            )
            one, other = time_at_recall(ours, recall), time_at_recall(theirs, recall)
            if one and other:
                said = f"{one / other:.2f} times ({one:.1f} ms, FAISS {other:.1f} ms)"
                yield Target(name, said, one <= 4 * other)
            elif ours and theirs:
                missing = [who for who, time in (("hnsw", one), ("FAISS", other)) if not time]
                reached = None if other is None else False
                yield Target(name, f"not reached by {' and '.join(missing)}", reached)
            else:
                yield Target(name, "not measured", None)


def _ladder(summary: Summary, contender: Contender, rows: int, kind: Kind) -> list[Figure]:
    return summary.ladder(rows, contender.name, kind, contender.cases)


def _filters(summary: Summary, rows: int) -> Iterator[Target]:
    for condition in CONDITIONS:
        cases = tuple(case for case in FILTERS.cases if case.condition == condition)
        figures = [f for kind in KINDS for f in summary.ladder(rows, "filters", kind, cases)]
        name = f"filter {condition.name}, {rows:,} rows: always k rows, recall at least 0.95"
        if not figures:
            yield Target(name, "not measured", None)
            continue
        full = all(figure.full == figure.asked for figure in figures)
        recall = min(figure.recall for figure in figures)
        said = f"{'always' if full else 'not always'} k rows, recall at least {recall:.3f}"
        yield Target(name, said, full and recall >= _FILTER_RECALL)
