"""The picture of docs/400-million-5-billion.md: the time of a query against rows."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from cliphouse.planning import costs
from cliphouse.planning.costs import Collection, Layout, Speeds
from paper_data import CORES, GRAPH, SIZES, measured_seconds, width_law

LARGEST = 8_000_000_000
_MARKED = {400_000_000: "LAION-400M", 5_850_000_000: "LAION-5B"}


def draw_queries(path: Path) -> None:
    """Queries on the two cores that were measured, everything in memory, no shards: dots are
    measured, lines are the formulas. Writes a PNG."""
    figure, axes = plt.subplots(figsize=(8, 4.6), dpi=120)
    rows = np.unique(np.geomspace(SIZES[0], LARGEST, 200).astype(np.int64)).tolist()
    drawn = (
        ("exact, BFloat16", "exact-bfloat16", Layout("bfloat16"), "text", "tab:blue"),
        ("text queries, graph at recall 0.95", "auto", GRAPH, "text", "tab:orange"),
        ("image queries, graph at recall 0.99", "auto", GRAPH, "image", "tab:green"),
    )
    for name, contender, layout, kind, colour in drawn:
        law = width_law(kind)
        seconds = [
            costs.query_seconds(layout, Collection(count), CORES, Speeds(), law.at(count))
            for count in rows
        ]
        axes.plot(rows, seconds, color=colour, linestyle="--", label=f"{name}: formula")
        measured = measured_seconds(contender, kind)
        axes.plot(list(measured), list(measured.values()), "o", color=colour, label="measured")
    axes.axvspan(SIZES[0] * 0.8, SIZES[-1], color="0.92", zorder=0)
    axes.text(SIZES[0] * 1.2, 200, "measured", color="0.35")
    for count, name in _MARKED.items():
        axes.axvline(count, color="0.6", linewidth=1)
        axes.text(count * 0.9, 0.0044, name, rotation=90, ha="right", va="bottom", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds a query")
    axes.set_xlim(SIZES[0] * 0.8, LARGEST)
    axes.set_ylim(0.004, 600)
    axes.grid(which="major", color="0.9")
    axes.legend(loc="upper center", frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
