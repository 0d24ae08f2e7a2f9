"""What cliphouse's search is to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from search.contender import Contender
from search.data import CONDITIONS, KINDS, Kind
from search.engines import QDRANT
from search.house import FILTERS, HNSW
from search.libraries import FAISS_HNSW
from search.postgres import PGVECTOR
from search.summary import Figure, Summary, ratio, time_at_recall

_HNSW_RECALL = 0.95  # at which graphs are compared
_AUTO_RECALL: dict[Kind, float] = {"text": 0.95, "image": 0.99}
_FILTER_RECALL = 0.95
_NOT_SLOWER = "no mode slower than exact without a filter"


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


@dataclass(frozen=True)
class _AtRecall:
    """The time of hnsw, which is to be at most ``factor`` times that of ``other`` and ``extra``
    milliseconds."""

    aim: str
    kind: Kind
    other: Contender
    factor: float
    extra: float


_AT_RECALL = (
    _AtRecall("hnsw within 2.5 ms + 2 x Qdrant Edge", "text", QDRANT, 2, 2.5),
    _AtRecall("hnsw at most a third of pgvector", "text", PGVECTOR, 1 / 3, 0),
    _AtRecall("hnsw at most 6 x FAISS + 3 ms", "image", FAISS_HNSW, 6, 3),
)
_AUTO_SPEED = _Ratio(
    "auto at least 4 times faster than exact Float32", "exact-float32", "auto", 4, True
)
_RATIOS = (
    _Ratio("exact BFloat16 at most 2.5 times NumPy", "exact-bfloat16", "numpy", 2.5, False),
    _Ratio("exact Float32 at most 2.5 times NumPy", "exact-float32", "numpy", 2.5, False),
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
    """Against the others at the same recall; a bound is milliseconds as their time gives them."""
    for aim in _AT_RECALL:
        name = f"{aim.aim} at recall {_HNSW_RECALL}, {rows:,} rows, {aim.kind} queries"
        ours = _ladder(summary, HNSW, rows, aim.kind)
        theirs = _ladder(summary, aim.other, rows, aim.kind)
        one, other = time_at_recall(ours, _HNSW_RECALL), time_at_recall(theirs, _HNSW_RECALL)
        if one and other:
            bound = aim.factor * other + aim.extra
            said = f"{one:.2f} ms, wanted {bound:.2f} ms ({aim.other.label} {other:.2f} ms)"
            yield Target(name, said, one <= bound)
        elif ours and theirs:
            missing = [who for who, time in ((HNSW, one), (aim.other, other)) if not time]
            said = f"not reached by {' and '.join(who.label for who in missing)}"
            yield Target(name, said, None if other is None else False)
        else:
            yield Target(name, "not measured", None)


def _ladder(summary: Summary, contender: Contender, rows: int, kind: Kind) -> list[Figure]:
    return summary.ladder(rows, contender.name, kind, contender.cases)


def _filters(summary: Summary, rows: int) -> Iterator[Target]:
    for condition in CONDITIONS:
        cases = tuple(case for case in FILTERS.cases if case.condition == condition)
        found = {kind: summary.ladder(rows, FILTERS.name, kind, cases) for kind in KINDS}
        figures = [figure for ladder in found.values() for figure in ladder]
        where = f"filter {condition.name}, {rows:,} rows"
        good, fast = f"{where}: always k rows, recall at least 0.95", f"{where}: {_NOT_SLOWER}"
        if not figures:
            yield from (Target(name, "not measured", None) for name in (good, fast))
            continue
        full = all(figure.full == figure.asked for figure in figures)
        recall = min(figure.recall for figure in figures)
        said = f"{'always' if full else 'not always'} k rows, recall at least {recall:.3f}"
        yield Target(good, said, full and recall >= _FILTER_RECALL)
        ratios = [
            ratio(figure, summary.get(rows, "exact-float32", "", kind))
            for kind, ladder in found.items()
            for figure in ladder
        ]
        known = [found for found in ratios if found is not None]
        if len(known) < len(ratios):
            yield Target(fast, "not measured", None)
        else:
            yield Target(fast, f"at most {max(known):.2f} times", max(known) <= 1)
