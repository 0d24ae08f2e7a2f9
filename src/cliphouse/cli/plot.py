"""The plot of recall against latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cliphouse.cli.formats import check_output
from cliphouse.errors import QueryError
from cliphouse.search.methods import METHODS
from cliphouse.shards.whole_file import whole_file
from cliphouse.vocabulary import Measured

_ENDINGS = (".svg", ".png", ".pdf")
_COLOURS = {"text": "#c44e52", "image": "#4c72b0"}
_MARKERS = "*sov^D"  # one for each method, in the registry's order


def check_plot(path: Path) -> None:
    """Raise QueryError, before the measurement, if no plot can be written to ``path``."""
    if path.suffix.lower() not in _ENDINGS:
        raise QueryError(f"{path}: a plot must be a file with the ending {', '.join(_ENDINGS)}")
    check_output(path)


def plot_recall(measured: Sequence[Measured], path: Path) -> None:
    """Draw recall (vertical) against median latency in milliseconds (horizontal, logarithmic).

    There is a line for each mode and kind of query; the widths stand beside the points."""
    from matplotlib.figure import Figure  # takes half a second to load

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    modes = list(METHODS)
    for query, mode in sorted({(entry.query, entry.mode) for entry in measured}):
        line = [e for e in measured if (e.query, e.mode) == (query, mode)]
        line.sort(key=lambda entry: entry.width)
        axes.errorbar(
            [entry.milliseconds for entry in line],
            [entry.recall for entry in line],
            [entry.standard_error for entry in line],
            color=_COLOURS[query],
            marker=_MARKERS[modes.index(mode) % len(_MARKERS)],
            linestyle="-",
            label=f"{query} queries, {mode}",
        )
        for entry in line:
            if entry.width:
                place = (entry.milliseconds, entry.recall)
                axes.annotate(str(entry.width), place, (4, -10), textcoords="offset points", size=7)
    axes.set_xscale("log")
    axes.set_xlabel("median latency, ms")
    axes.set_ylabel(f"recall@{measured[0].k}")
    axes.set_title(f"{measured[0].rows:,} rows, {measured[0].modality} embeddings")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(loc="lower right")
    with whole_file(path) as stream:
        figure.savefig(stream, format=path.suffix.lstrip(".").lower())
