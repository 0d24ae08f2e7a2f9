"""The plots: recall against latency, latency against rows, and filters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.catalogue import CONTENDERS, followed
from search.contender import Contender
from search.data import CONDITIONS, KINDS, Kind
from search.house import FILTERS
from search.summary import Summary, curves

_MARKERS = "osD^v<>PX*hd"
_COLORS = (
    "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f",
    "#bcbd22", "#17becf", "#000080", "#808000", "#008080", "#c71585", "#000000", "#b8860b",
)  # fmt: skip
_FORMAT = {"dpi": 110, "bbox_inches": "tight"}


def draw(summary: Summary, rows: list[int], folder: Path) -> list[str]:
    """Draw what was measured at the largest size into ``folder``; returns the plots' names."""
    import matplotlib

    matplotlib.use("Agg")
    names = [_recall(summary, max(rows), kind, folder) for kind in KINDS]
    names.append(_rows(summary, folder))
    if any(summary.ladder(max(rows), FILTERS.name, kind, FILTERS.cases) for kind in KINDS):
        names.append(_filters(summary, max(rows), folder))
    return names


def _recall(summary: Summary, rows: int, kind: Kind, folder: Path) -> str:
    """A line for each contender: what its widths buy. Up and to the left is better."""
    figure, axes = _axes()
    for number, contender in enumerate(CONTENDERS.values()):
        if contender is FILTERS:
            continue
        points = summary.ladder(rows, contender.name, kind, contender.cases)
        if points:
            axes.plot(
                [point.p50 for point in points],
                [point.recall for point in points],
                label=contender.label,
                **_style(number, contender),
            )
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds a query (p50)")
    axes.set_ylabel("recall@10")
    axes.set_title(f"{kind} queries, {rows:,} rows")
    return _save(figure, axes, folder, f"search-recall-{kind}.png")


def _rows(summary: Summary, folder: Path) -> str:
    figure, axes = _axes()
    for number, curve in enumerate(curves(summary, followed(), "text")):
        contender = CONTENDERS[curve.contender]
        axes.plot(
            [point.rows for point in curve.points],
            [point.p50 for point in curve.points],
            label=f"{contender.title(curve.case)}: rows^{curve.exponent:.2f}",
            **_style(number, contender),
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rows")
    axes.set_ylabel("milliseconds a query (p50)")
    axes.set_title("text queries")
    return _save(figure, axes, folder, "search-rows.png")


def _filters(summary: Summary, rows: int, folder: Path) -> str:
    """One line for each mode, kind of query and kind of condition."""
    figure, axes = _axes()
    number = 0
    for mode in ("auto", "hnsw"):
        for sort in ("hash", "meaning"):
            cases = [
                case
                for case in FILTERS.cases
                if case.mode == mode and case.condition and case.condition.name.startswith(sort)
            ]
            for kind in KINDS:
                points = summary.ladder(rows, FILTERS.name, kind, tuple(cases))
                axes.plot(
                    [max(point.matching, 1) / rows for point in points],
                    [point.p50 for point in points],
                    label=f"{mode}, {kind} queries, filter by {sort}",
                    **_style(number, FILTERS),
                )
                number += 1
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("share of the rows that meet the filter")
    axes.set_ylabel("milliseconds a query (p50)")
    axes.set_title(f"filters, {rows:,} rows, {len(CONDITIONS)} conditions")
    return _save(figure, axes, folder, "search-filters.png")


def _axes() -> Any:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(9, 5.5))


def _style(number: int, contender: Contender) -> dict[str, Any]:
    """Our own lines thick, the others thin and broken."""
    ours = contender.label.startswith("cliphouse")
    return {
        "color": _COLORS[number % len(_COLORS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 5,
        "linewidth": 2 if ours else 1,
        "linestyle": "-" if ours else "--",
    }


def _save(figure: Any, axes: Any, folder: Path, name: str) -> str:
    from matplotlib import pyplot

    axes.grid(True, which="both", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize="small")
    figure.savefig(folder / name, **_FORMAT)
    pyplot.close(figure)
    return name
