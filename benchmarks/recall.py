"""How long recall takes to measure after a build, and how well it is known then.

    python benchmarks/recall.py [--rows N ...] [--dir DIR] [--before] [--no-report]

For each size a table is loaded and indexed, and recall@10 and recall@100 are measured as
``cliphouse index`` does. ``--before`` measures them once more, which takes minutes: 200 queries
over the whole ladder of widths, each answer by a search of its own. It compares the two. A full run
writes docs/benchmarks/recall.md and recall.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

import cliphouse
from clip_like import DIM, write_shard
from cliphouse.recall.measure import TARGETS
from cliphouse.recall.questions import sample_rows, turned_aside
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.methods import METHODS
from cliphouse.table import Table
from cliphouse.vocabulary import AUTO_KS, Measured, Modality
from ingest import Machine

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "recall.md"
QUERIES = 200
NEIGHBOURS = 30
ENOUGH = 0.999
T = TypeVar("T")


@dataclass(frozen=True)
class Timed:
    """Seconds of a step, and those of the processor in all threads of this process."""

    seconds: float
    processor_seconds: float


@dataclass(frozen=True)
class Compared:
    """Recall of one width as it is measured now and as 200 queries say."""

    query: str
    k: int
    width: int
    now: float
    before: float
    is_chosen: bool


@dataclass(frozen=True)
class Size:
    """What was measured at one size. ``forecast`` is what ``index`` says before the build."""

    rows: int
    forecast: float
    build: Timed
    now: Timed
    before: Timed | None = None
    compared: list[Compared] = field(default_factory=list)

    @property
    def goal(self) -> float:
        """The seconds that measuring may take: 3, or a quarter of the build if that is more."""
        return max(3.0, self.build.seconds / 4)

    @property
    def largest(self) -> float | None:
        """The largest difference of recall."""
        return max((abs(c.now - c.before) for c in self.compared), default=None)

    @property
    def largest_chosen(self) -> float | None:
        """The same at the widths that mode auto takes."""
        chosen = (abs(c.now - c.before) for c in self.compared if c.is_chosen)
        return max(chosen, default=None)


def timed(step: Callable[[], T]) -> tuple[T, Timed]:
    started, busy = time.perf_counter(), time.process_time()
    found = step()
    return found, Timed(time.perf_counter() - started, time.process_time() - busy)


def measure(rows: int, base: Path, with_before: bool) -> Size:
    write_shard(base / f"shards-{rows}", 0, rows)
    with cliphouse.open(base / f"{rows}.chdb") as table:
        table.ingest(base / f"shards-{rows}")
        spec = IndexSpec()
        forecast = table.forecast(spec).seconds
        _, build = timed(lambda: table.index(spec))
        found, now = timed(lambda: table.recall("image", AUTO_KS, save=True, quick=True))
        print(
            f"{rows:,} rows: forecast {forecast:.1f} s, built {build}, measured {now}", flush=True
        )
        if not with_before:
            return Size(rows, forecast, build, now)
        known, before = timed(lambda: dict(recall_before(table)))
        print(f"{rows:,} rows: measured as before {before}", flush=True)
        return Size(rows, forecast, build, now, before, list(compare(found, known)))


def recall_before(table: Table) -> Iterator[tuple[tuple[str, int, int], float]]:
    """The recall of each kind of query, k and width, by exact searches and searches of the index,
    one after the other, up to the first width that finds nearly all."""
    kinds: tuple[Modality, ...] = ("image", "text")
    for kind in kinds:
        samples = sample_rows(table.handle, kind, QUERIES)
        vectors = np.array([sample.vector for sample in samples])
        own: list[int | None] = [sample.id for sample in samples]
        if kind == "image":
            vectors, own = turned_aside(vectors, similarity(table, own, vectors)), [None] * QUERIES
        for k in AUTO_KS:
            truth = search(table, vectors, own, k, None)
            for ef in ladder(k):
                found = search(table, vectors, own, k, ef)
                share = np.mean(
                    [len(set(f) & set(t)) / k for f, t in zip(found, truth, strict=True)]
                )
                yield (kind, k, ef), float(share)
                if share >= ENOUGH:
                    break


def ladder(k: int) -> list[int]:
    width = METHODS["hnsw"].width
    assert width is not None
    return [ef for ef in width.ladder if ef > k]


def similarity(table: Table, ids: Sequence[int | None], vectors: NDArray[np.float32]) -> float:
    """The median similarity of rows to their nearest neighbours."""
    nearest = []
    for row_id, vector in list(zip(ids, vectors, strict=True))[:NEIGHBOURS]:
        hits = table.search(vector, 2, mode="exact")
        nearest += [hit.score for hit in hits if hit.id != row_id][:1]
    return float(np.median(nearest))


def search(
    table: Table,
    vectors: NDArray[np.float32],
    own: Sequence[int | None],
    k: int,
    ef: int | None,
) -> list[list[int]]:
    """The ids of the k nearest rows but a query's own; exactly if ``ef`` is None."""
    found = []
    for vector, row_id in zip(vectors, own, strict=True):
        mode = "exact" if ef is None else "hnsw"
        hits = table.search(vector, k + 1, mode=mode, ef=ef)
        found.append([hit.id for hit in hits if hit.id != row_id][:k])
    return found


def compare(
    found: Sequence[Measured], known: dict[tuple[str, int, int], float]
) -> Iterator[Compared]:
    for entry in found:
        way = (entry.query, entry.k, entry.width)
        if way in known:
            good = (
                e.width
                for e in found
                if (e.query, e.k, e.mode) == (entry.query, entry.k, entry.mode)
                and e.recall - e.standard_error >= TARGETS[e.query]
            )
            is_chosen = entry.width == min(good, default=0)
            yield Compared(*way, entry.recall, known[way], is_chosen)


def markdown(sizes: Sequence[Size], machine: Machine, load_average: float) -> str:
    def seconds(step: Timed | None) -> str:
        return "" if step is None else f"{step.seconds:.1f} s ({step.processor_seconds:.1f})"

    def points(difference: float | None) -> str:
        return "" if difference is None else f"{difference * 100:.1f}"

    lines = [
        "# Recall",
        "",
        "Generated by `make bench-recall`; changes made by hand are lost.",
        "",
        f"Tables of 2 embeddings of {DIM} dimensions, with an HNSW index of images (M 32, "
        "ef_construction 128). After the build `cliphouse index` measures recall@10 and recall@100 "
        f"of text and image queries. *As before* are {QUERIES} queries over the whole ladder of "
        "widths, each answer by a search of its own. In brackets are the seconds of the processor.",
        "",
        "| rows | forecast | build | measuring | of the build | goal | as before "
        "| largest difference, points | at auto's widths |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size in sizes:
        share = size.now.processor_seconds / size.build.processor_seconds
        lines.append(
            f"| {size.rows:,} | {size.forecast:.1f} s | {seconds(size.build)} "
            f"| {seconds(size.now)} | {share:.0%} | {size.goal:.1f} s | {seconds(size.before)} "
            f"| {points(size.largest)} | {points(size.largest_chosen)} |"
        )
    busy = ", so times are too long; their ratios tell more" if load_average > machine.cores else ""
    lines += [
        "",
        "*Of the build* divides the processor's seconds. The forecast is in seconds of a machine "
        "that does nothing else. Differences are in percentage points, over all widths that both "
        "have measured, and at the widths that mode auto takes.",
        "",
        f"Machine: {machine.in_words()}. Load average before the run: {load_average:.1f}{busy}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measuring recall after a build.")
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 100_000])
    parser.add_argument("--dir", type=Path, help="where to work; needs 10 kB a row")
    parser.add_argument("--before", action="store_true", help="measure the slow way too")
    parser.add_argument("--no-report", action="store_true", help="print only")
    options = parser.parse_args()
    load_average = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-recall-", dir=options.dir) as base:
        sizes = [measure(rows, Path(base).resolve(), options.before) for rows in options.rows]
    machine = Machine.here()
    report = markdown(sizes, machine, load_average)
    print(report)
    if not options.no_report:
        REPORT.write_text(report)
        values = {"machine": asdict(machine), "load_average": load_average}
        values["sizes"] = [asdict(size) for size in sizes]
        REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
        print(f"written: {REPORT}")


if __name__ == "__main__":
    main()
