"""Hits on the terminal: a line for each, and how they were found."""

from __future__ import annotations

from collections.abc import Sequence

from cliphouse.cli import show
from cliphouse.search.hits import Hit
from cliphouse.search.methods import describe
from cliphouse.search.results import SearchResult
from cliphouse.wording import counted


def draw_hits(result: SearchResult, fields: Sequence[str]) -> None:
    """Print a line for each hit, with its columns ``fields``, and one about the search."""
    fields = [name for name in fields if name not in ("id", "score")]  # they are shown anyway
    rows = [
        (rank, f"{hit.score:.3f}", _id(hit), *(_cell(hit, name) for name in fields))
        for rank, hit in enumerate(result, 1)
    ]
    show.lines(("", "score", "id", *fields), rows, right="rrr")
    show.err.print(way(result), style="dim", markup=False)


def way(result: SearchResult) -> str:
    """One line: the mode, its width and measured recall, rows read and times."""
    stats = result.stats
    mode = describe(stats.mode, stats.width)
    recall = "recall not measured" if stats.recall is None else f"recall@k {stats.recall:.3f}"
    filtered = f"; filter: {stats.filtered}" if stats.filtered else ""
    read = "" if stats.rows_read is None else f", {counted(stats.rows_read, 'row')} read"
    return (
        f"{counted(len(result), 'row')}, {mode} ({stats.reason}{filtered}), {recall}{read}, "
        f"encoding {stats.encode_ms:.0f} ms, search {stats.search_ms:.0f} ms"
    )


def _id(hit: Hit) -> str:
    return f"{hit.id} (+{hit.folded} near-duplicates)" if hit.folded else str(hit.id)


def _cell(hit: Hit, name: str) -> str:
    text = _text(getattr(hit, name))
    text = show.path(text) if name in show.PATHS else text
    return f"{text} (not there)" if name == "url" and hit.missing else text


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
