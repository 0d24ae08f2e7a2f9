"""What was measured, beside what the plan's formulas say of it, for tools/paper.py.

Everything measured is read from docs/benchmarks/*.json.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cliphouse.planning import costs
from cliphouse.planning import plan as planning
from cliphouse.planning.costs import Collection, Layout, Speeds
from cliphouse.planning.plan import Machines
from cliphouse.schema.index_spec import IndexSpec

BENCHMARKS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
CORES = 2  # of the machine that all of it was measured on
TARGETS = {"text": 0.95, "image": 0.99}  # recall@10 that is asked of each kind of query
SIZES = (10_000, 100_000, 1_000_000)
GRAPH = Layout("float32", index=IndexSpec(), indexed=1, label="hnsw 32/128 image")
_EXACT: dict[str, Layout] = {
    "exact-float32": Layout("float32"),
    "exact-bfloat16": Layout("bfloat16"),
}
_LOADED: dict[str, Layout] = {
    "cliphouse": Layout("float32"),
    "cliphouse-bf16": Layout("bfloat16"),
}


@dataclass(frozen=True)
class Figure:
    """One measured figure and the formula's, in bytes, seconds or queries a second."""

    what: str
    rows: int
    unit: str
    formula: float
    measured: float

    @property
    def ratio(self) -> float:
        return self.formula / self.measured


@dataclass(frozen=True)
class WidthLaw:
    """The width at which the index finds what TARGETS asks of a kind of query: ``width`` at
    ``rows``, growing with their power ``exponent``. Between measured widths the recall is taken to
    be straight over the logarithm of the width."""

    rows: int
    width: float
    exponent: float

    def at(self, rows: int) -> int:
        """The width for so many rows, to two digits."""
        exact = self.width * (rows / self.rows) ** self.exponent
        return int(float(f"{exact:.1e}"))


def read(name: str) -> Any:
    return json.loads((BENCHMARKS / f"{name}.json").read_text())


def width_law(kind: str) -> WidthLaw:
    """The law through the widths that 100,000 and 1,000,000 rows need."""
    few, many = (_needed_width(kind, rows) for rows in SIZES[1:])
    return WidthLaw(SIZES[-1], many, math.log10(many / few))


def recalls(kind: str, rows: int) -> dict[int, float]:
    """The recall of that kind of queries, by width."""
    return {
        int(timing["case"].removeprefix("ef ")): timing["recall"]
        for timing in _timings("hnsw", rows, kind)
        if timing["case"].startswith("ef ")
    }


def codes_recall() -> float:
    """The recall of text queries by codes, at the most rows that were measured."""
    case = f"oversampling {costs.PLANNED_OVERSAMPLING}"
    measured = [one["recall"] for one in _timings("rabitq", SIZES[-1]) if one["case"] == case]
    return statistics.fmean(measured)


def measured_seconds(contender: str, kind: str) -> dict[int, float]:
    """The median time of a query by rows, at every size that was measured."""
    rows = sorted({timing["rows"] for timing in read("search")["timings"]})
    return {count: _seconds(contender, count, kind=kind) for count in rows}


def _needed_width(kind: str, rows: int) -> float:
    target, measured = TARGETS[kind], sorted(recalls(kind, rows).items())
    for (width, recall), (wider, better) in pairwise(measured):
        if recall < target <= better:
            share = (target - recall) / (better - recall)
            return float(width * (wider / width) ** share)
    raise SystemExit(f"{kind} queries, {rows} rows: no width has a recall of {target}")


def figures() -> Iterator[Figure]:
    yield from _loading()
    yield from _searching()
    yield from _indexing()
    yield _serving()


def _loading() -> Iterator[Figure]:
    runs = read("ingest")["runs"]
    for contender, layout in _LOADED.items():
        for rows in (100_000, 1_000_000):
            own = [r for r in runs if (r["contender"], r["rows"]) == (contender, rows)]
            expected = _estimate(layout, rows)
            name = layout.name.partition(",")[0]
            seconds = statistics.median(run["seconds"] for run in own)
            yield Figure(f"{name}: loading", rows, "s", expected.load_seconds, seconds)
            disk = float(own[0]["disk"])
            yield Figure(f"{name}: disk", rows, "B", expected.disk_bytes, disk)


def _searching() -> Iterator[Figure]:
    for rows in SIZES:
        for contender, layout in _EXACT.items():
            expected = costs.query_seconds(layout, Collection(rows), CORES, Speeds())
            yield Figure(f"{layout.name}: query", rows, "s", expected, _seconds(contender, rows))
    for rows in SIZES[1:]:
        for ef in (512, 1024, 2048, 4096):
            expected = costs.query_seconds(GRAPH, Collection(rows), CORES, Speeds(), ef)
            measured = _seconds("hnsw", rows, f"ef {ef}")
            yield Figure(f"{GRAPH.name}: query, ef {ef:,}", rows, "s", expected, measured)
        codes = Layout("bfloat16", codes="rabitq", label="rabitq")
        expected = costs.query_seconds(codes, Collection(rows), CORES, Speeds())
        case = f"oversampling {costs.PLANNED_OVERSAMPLING}"
        yield Figure(
            f"{codes.name}: query, {case}", rows, "s", expected, _seconds("rabitq", rows, case)
        )


def _indexing() -> Iterator[Figure]:
    for check in read("plan")["checks"]:
        if check["what"] in ("build", "graph in memory", "memory to build", "disk while indexing"):
            if check["layout"] != "BFloat16, hnsw 32/128 image":
                continue
            what = f"{check['layout']}: {check['what']}"
            predicted, measured = check["predicted"], check["measured"]
            yield Figure(what, check["rows"], check["unit"], predicted, measured)


def _serving() -> Figure:
    served = read("serve")
    (load,) = (
        one
        for one in served["loads"]
        if (one["model"], one["query"], one["connections"]) == ("tiny", "vector", 8)
    )
    seconds = costs.query_seconds(GRAPH, Collection(served["rows"]), CORES, Speeds(), 512)
    what = f"{GRAPH.name}: queries a second over HTTP, ef 512"
    return Figure(what, served["rows"], "/s", CORES / seconds, load["rate"])


def _estimate(layout: Layout, rows: int) -> planning.Estimate:
    return planning.estimate(layout, Collection(rows), Machines(CORES, 2**40), Speeds())


def _timings(contender: str, rows: int, kind: str = "text") -> list[dict[str, Any]]:
    return [
        timing
        for timing in read("search")["timings"]
        if (timing["contender"], timing["rows"], timing["kind"]) == (contender, rows, kind)
    ]


def _seconds(contender: str, rows: int, case: str = "", kind: str = "text") -> float:
    """The median of the rounds."""
    found = [one["p50"] for one in _timings(contender, rows, kind) if one["case"] == case]
    return float(statistics.median(found)) / 1000
