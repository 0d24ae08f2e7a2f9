"""Ten million rows on one machine: loading, exact search, filters, a graph, and what plan says.

    python benchmarks/large.py [--rows N] [--graph-rows N] [--dir DIR] [--no-report]

The table has image embeddings alone, as BFloat16. Its shards are made a few at a time and removed
once they are loaded; while they are made, NumPy finds the exact answers to all queries over the
vectors as made. ``--graph-rows`` builds the graph on a table of its own with fewer rows, if the
time or the memory is not there for all. What is measured is kept in DIR/large.json after each step,
and the same command goes on from there. A full run writes docs/benchmarks/large.md and large.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cliphouse
from clip_like import DIM, ClipLike
from cliphouse.planning import plan as planning
from cliphouse.planning.costs import Collection, Layout, Speeds
from cliphouse.planning.plan import Machines
from cliphouse.shards.numbering import ID_BITS
from cliphouse.shards.writer import ShardWriter
from cliphouse.table import Table
from cliphouse.vocabulary import AUTO_KS
from ingest import Machine, Watch, disk_used
from large_report import markdown

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "large.md"
SHARD_ROWS = 100_000
SHARDS_AT_ONCE = 10
K = 10
QUERIES, SLOW_QUERIES, WARM_UP = 100, 20, 3  # exact searches and filters are asked fewer
KINDS = ("text", "image")
WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
FILTERS = {
    "50%": "sipHash64(id) % 10000 < 5000",
    "5%": "sipHash64(id) % 10000 < 500",
    "0.5%": "sipHash64(id) % 10000 < 50",
    "0.01%": "sipHash64(id) % 10000 < 1",
}
GRAPH = cliphouse.IndexSpec("image", quantization="i8", m=16, ef_construction=64)

Floats = NDArray[np.float32]


@dataclass
class Truth:
    """The best rows so far for each of n queries: ids and scores, (n, K), the best first."""

    queries: Floats
    ids: NDArray[np.int64] = field(init=False)
    scores: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.ids = np.full((len(self.queries), K), -1, np.int64)
        self.scores = np.full((len(self.queries), K), -np.inf, np.float32)

    def add(self, first: int, rows: Floats) -> None:
        """Compare unit vectors, whose ids are ``first`` and those after it."""
        products = self.queries @ rows.T
        best = np.argpartition(products, -K, axis=1)[:, -K:]
        ids = np.hstack([self.ids, best + first])
        scores = np.hstack([self.scores, np.take_along_axis(products, best, axis=1)])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        self.ids = np.take_along_axis(ids, order, axis=1)
        self.scores = np.take_along_axis(scores, order, axis=1)


class Kept:
    """The figures by step, in a file that holds what is done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.figures: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def step(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in self.figures:
            print(f"{name} ...", flush=True)
            self.figures[name] = measure() | {"load_average": os.getloadavg()[0]}
            self.write()
            print(f"{name}: {self.figures[name]}", flush=True)
        found: dict[str, Any] = self.figures[name]
        return found

    def write(self) -> None:
        new = self._path.with_suffix(".part")
        new.write_text(json.dumps(self.figures, indent=1) + "\n")
        new.replace(self._path)


@dataclass(frozen=True)
class Place:
    """A folder with a table of ``rows`` rows, the true answers, and those of exact searches."""

    folder: Path
    rows: int

    @property
    def db(self) -> Path:
        return self.folder / "laion.chdb"

    def queries(self, kind: str) -> Floats:
        """(QUERIES + WARM_UP, 512) unit vectors, none in the table."""
        beyond = ClipLike().vectors(self.rows, self.rows + QUERIES + WARM_UP)
        return beyond.text if kind == "text" else beyond.image

    def answers(self, name: str, kind: str) -> Path:
        """Where the ids are kept that queries of a kind have for answers, (n, K) int64."""
        return self.folder / f"{name} {kind}.npy"


def load(place: Place, table: Table) -> dict[str, Any]:
    """Make the shards, load them, and find the exact answers on the way."""
    truths = {kind: Truth(place.queries(kind)[:QUERIES]) for kind in KINDS}
    folder, shards = place.folder / "shards", place.rows // SHARD_ROWS
    making = loading = 0.0
    for first in range(0, shards, SHARDS_AT_ONCE):
        shutil.rmtree(folder, ignore_errors=True)
        started = time.perf_counter()
        for number in range(first, min(first + SHARDS_AT_ONCE, shards)):
            make_shard(folder, number, list(truths.values()))
        making += time.perf_counter() - started
        started = time.perf_counter()
        table.ingest(folder, precision="bfloat16")
        loading += time.perf_counter() - started
        print(f"  {table.summary().rows:,} rows, {loading:.0f} s", flush=True)
    shutil.rmtree(folder)
    for kind, truth in truths.items():
        np.save(place.answers("all", kind), truth.ids)
    return {"seconds": loading, "making": making, "disk": table.summary().disk_bytes}


def make_shard(folder: Path, number: int, truths: list[Truth]) -> None:
    """Shard ``number`` of the generator's rows; each has the id that the table gives it."""
    start = number * SHARD_ROWS
    with ShardWriter(folder, number, DIM, with_text=False) as writer:
        for batch in ClipLike().batches(start, start + SHARD_ROWS):
            writer.append(batch.image, None, batch.metadata)
            for truth in truths:
                truth.add((number << ID_BITS) + batch.start - start, batch.image)


def search(
    place: Place, table: Table, truth: str, count: int = QUERIES, **options: Any
) -> dict[str, Any]:
    """Median and 95th percentile in milliseconds, and recall of the answers called ``truth``, of
    text and of image queries. If there are none of that name, these answers get it."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        times, answers, modes = [], [], set()
        asked = place.queries(kind)
        for vector in [*asked[QUERIES:], *asked[:count]]:
            started = time.perf_counter()
            hits = table.search(vector, K, fields=("url", "caption"), **options)
            times.append((time.perf_counter() - started) * 1000)
            answers.append([hit.id for hit in hits])
            modes.add(f"{hits.stats.mode} {hits.stats.width or ''}".strip())
        times, answers = times[WARM_UP:], answers[WARM_UP:]
        path = place.answers(truth, kind)
        if not path.exists():
            np.save(path, np.array(answers))
        right = np.load(path)
        shares = [len(set(a) & set(r.tolist())) / K for a, r in zip(answers, right, strict=False)]
        found[kind] = {
            "p50": statistics.median(times),
            "p95": float(np.percentile(times, 95)),
            "recall": statistics.fmean(shares),
            "modes": sorted(modes),
        }
    return found


def build(table: Table, db: Path) -> dict[str, Any]:
    """Build the graph, and watch memory and disk."""
    watch = Watch(os.getpid(), db)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    busy = time.process_time()
    built = table.index(GRAPH)
    watch.stop()
    thread.join()
    return {
        "seconds": built.seconds,
        "processor_seconds": time.process_time() - busy,
        "graph": table.summary().indexes[0].memory_bytes,
        "memory": watch.memory,
        "disk_peak": watch.disk,
        "disk": disk_used(db),
    }


def recall(table: Table) -> dict[str, Any]:
    started = time.perf_counter()
    measured = table.recall("image", AUTO_KS, save=True, quick=True)
    return {"seconds": time.perf_counter() - started, "figures": len(measured)}


def predicted(rows: int, layout: Layout) -> dict[str, float]:
    """What plan says of this machine with this layout."""
    machine = Machine.here()
    machines = Machines(machine.cores, int(machine.memory_gib * 2**30))
    said = planning.estimate(layout, Collection(rows, DIM, 1), machines, Speeds())
    return {
        "load": said.load_seconds,
        "disk": said.disk_bytes,
        "query": said.query_seconds,
        "build": said.index_seconds,
        "memory": said.building_memory_bytes,
        "graph": said.graph_bytes,
        "disk_peak": said.indexing_disk_bytes,
    }


def measure_exact(kept: Kept, place: Place) -> None:
    """Loading, exact search, and filters without a graph."""
    with cliphouse.open(place.db) as table:
        kept.step("load", partial(load, place, table))
        ask = partial(search, place, table, count=SLOW_QUERIES, mode="exact")
        kept.step("exact", partial(ask, "all"))
        for name, where in FILTERS.items():
            kept.step(f"exact, {name}", partial(ask, f"filter {name}", where=where))


def measure_graph(kept: Kept, place: Place) -> None:
    """The graph, what auto takes with it, and filters."""
    with cliphouse.open(place.db) as table:
        kept.step("build", partial(build, table, place.db))
        kept.step("recall", partial(recall, table))
        ask = partial(search, place, table)
        for ef in WIDTHS:
            kept.step(f"hnsw ef {ef}", partial(ask, "all", mode="hnsw", ef=ef))
        kept.step("auto", partial(ask, "all"))
        for name, where in FILTERS.items():
            kept.step(f"auto, {name}", partial(ask, f"filter {name}", SLOW_QUERIES, where=where))


def main() -> None:
    parser = argparse.ArgumentParser(description="Ten million rows on one machine.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--graph-rows", type=int, help="rows of the graph, if fewer")
    parser.add_argument("--dir", type=Path, required=True, help="needs 3 kB a row")
    parser.add_argument("--no-report", action="store_true", help="print only")
    options = parser.parse_args()
    graph_rows = options.graph_rows or options.rows
    whole = Place(options.dir.resolve(), options.rows)
    part = whole
    if graph_rows != options.rows:
        part = Place(whole.folder / str(graph_rows), graph_rows)
    part.folder.mkdir(parents=True, exist_ok=True)
    kept, graph = Kept(whole.folder / "large.json"), Kept(part.folder / "graph.json")
    measure_exact(kept, whole)
    if part != whole:
        measure_exact(graph, part)
    measure_graph(graph, part)
    bare = Layout("bfloat16")
    indexed = Layout("bfloat16", index=GRAPH, indexed=1, label="graph")
    values = {
        "machine": asdict(Machine.here()),
        "rows": options.rows,
        "graph_rows": graph_rows,
        "measured": kept.figures,
        "graph": graph.figures,
        "predicted": predicted(options.rows, bare),
        "predicted_graph": predicted(graph_rows, indexed),
    }
    report = markdown(values)
    print(report)
    if not options.no_report:
        REPORT.write_text(report)
        REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
        print(f"written: {REPORT}")


if __name__ == "__main__":
    main()
