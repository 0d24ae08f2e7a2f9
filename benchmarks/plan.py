"""What `cliphouse plan` says against what happens: load, build and search at several sizes.

    python benchmarks/plan.py [--rows N ...] [--dir DIR] [--no-report | --again]

Every table is built here, one after the other, each step in a fresh process. A full run writes
docs/benchmarks/plan.md and plan.json. ``--again`` measures nothing: it holds what today's formulas
say against the figures in plan.json.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import cliphouse
from clip_like import DIM, ClipLike, write_shard
from cliphouse.planning import costs
from cliphouse.planning import plan as planning
from cliphouse.planning.costs import Collection, Layout, Speeds
from cliphouse.planning.plan import Estimate, Machines
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.vocabulary import Precision
from ingest import Machine, disk_used, process_memory

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "plan.md"
QUERIES = 30
WARM_UP = 3
GOAL = 0.25
TABLE = "laion"
T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One figure of the plan, in bytes or seconds, and what it was in truth.

    ``undisturbed`` is what the measured time would be were the machine not shared: the fastest of
    the queries, or the processor's seconds over the cores.
    """

    rows: int
    layout: str
    what: str
    unit: str
    predicted: float
    measured: float
    undisturbed: float | None = None

    @property
    def off(self) -> float:
        return self.predicted / self.measured - 1

    @property
    def is_good(self) -> bool:
        return abs(self.off) <= GOAL


@dataclass(frozen=True)
class Asked:
    """A table to search and how, for a process of its own."""

    db: str
    rows: int
    layout: Layout


@dataclass(frozen=True)
class Searched:
    """Seconds of the first search of a process, and the median and least of those after it."""

    first: float
    warm: float
    fastest: float


@dataclass(frozen=True)
class Indexed:
    """A built index by the engine's own figures. ``peak`` is the most memory the process had
    of its own, ``disk_peak`` the most disk, ``processor_seconds`` are those of all threads."""

    seconds: float
    processor_seconds: float
    memory_bytes: int
    disk_bytes: int
    peak: int
    disk_peak: int


def search_warm(asked: Asked) -> Searched:
    """Text queries from beyond the table's end, url and caption fetched."""
    beyond = ClipLike().vectors(asked.rows, asked.rows + QUERIES + WARM_UP).text
    with cliphouse.open(asked.db, TABLE) as table:
        times = []
        for vector in beyond:
            started = time.perf_counter()
            found = search_once(table, asked.layout, vector)
            times.append(time.perf_counter() - started)
            assert found == costs.PLANNED_K
    return Searched(times[0], statistics.median(times[WARM_UP:]), min(times))


def search_once(table: cliphouse.Table, layout: Layout, vector: NDArray[np.float32]) -> int:
    """Search as the layout is meant to be; returns the number of rows found."""
    k = costs.PLANNED_K
    if layout.index:
        return len(table.search(vector, k, mode="hnsw", ef=costs.PLANNED_EF))
    if not layout.codes:
        return len(table.search(vector, k, mode="exact"))
    target = base64.b64encode(vector.tobytes()).decode()
    rows = table.sql(
        "SELECT id, url, caption, cosineDistance(image_embedding, CAST(reinterpret("
        "base64Decode({target:String}), 'Array(Float32)') AS Array(BFloat16))) AS distance "
        f"FROM {TABLE} ORDER BY distance LIMIT {k} SETTINGS "
        "local_filesystem_read_method = 'mmap', min_bytes_to_use_mmap_io = 1, checksum_on_read = 0,"
        "vector_search_use_quantized_codes = 1, "
        f"vector_search_index_fetch_multiplier = {costs.PLANNED_OVERSAMPLING}",
        {"target": target},
    )
    return len(rows)


def search_cold(asked: Asked) -> Searched:
    """The same with the table's files out of the page cache."""
    os.sync()
    for parent, _, names in os.walk(asked.db):
        for name in names:
            descriptor = os.open(Path(parent, name), os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
    return search_warm(asked)


def build_index(asked: Asked) -> Indexed:
    assert asked.layout.index is not None
    with cliphouse.open(asked.db, TABLE) as table:
        peak = disk_peak = 0

        def watch(_: Mapping[str, float]) -> None:
            nonlocal peak, disk_peak
            peak = max(peak, process_memory(os.getpid()).own)
            disk_peak = max(disk_peak, disk_used(Path(asked.db)))

        started = time.process_time()
        built = table.index(asked.layout.index, watch)
        processor = time.process_time() - started
        watch({})
        figures = table.sql(
            "SELECT data_uncompressed_bytes AS memory, data_compressed_bytes AS disk "
            f"FROM system.data_skipping_indices WHERE table = '{TABLE}' "
            "AND database = currentDatabase()"
        ).to_pylist()[0]
    return Indexed(built.seconds, processor, figures["memory"], figures["disk"], peak, disk_peak)


def with_codes(asked: Asked) -> float:
    """Load the table once more with codes; returns the seconds this took."""
    with cliphouse.open(asked.db, TABLE) as table:
        table.drop_index("image")  # it would be copied, built by the insert, and searched instead
        statement = table.sql(f"SHOW CREATE TABLE {TABLE}").column(0)[0].as_py()
        coded = statement.replace(TABLE, "coded", 1).replace(
            "CODEC(NONE)", f"CODEC(Quantized('{asked.layout.codes}', {DIM}))"
        )
        table.sql("DROP TABLE IF EXISTS coded SYNC")
        table.connection.command(coded, settings={"enable_quantized_codec": 1})
        started = time.perf_counter()
        table.sql(f"INSERT INTO coded SELECT * FROM {TABLE}")
        seconds = time.perf_counter() - started
        table.sql(f"EXCHANGE TABLES {TABLE} AND coded")
        table.sql("DROP TABLE coded SYNC")
    return seconds


def disk(asked: Asked) -> int:
    """The table's bytes on disk, as the engine says."""
    with cliphouse.open(asked.db, TABLE) as table:
        return int(table.summary().disk_bytes)


def load(shards: Path, db: str, precision: Precision) -> float:
    """Seconds of the command, from its start to its end."""
    command = [sys.executable, "-m", "cliphouse", "ingest", str(shards), "--db", db]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--table", TABLE, "--precision", precision], check=True, capture_output=True
    )
    return time.perf_counter() - started


def check_size(rows: int, base: Path) -> list[Check]:
    shards = base / f"shards-{rows}"
    write_shard(shards, 0, rows)
    checks = []
    for precision in costs.ELEMENT_BYTES:
        db = str(base / f"{rows}-{precision}.chdb")
        checks += check_table(rows, precision, shards, db)
    return checks


def check_table(rows: int, precision: Precision, shards: Path, db: str) -> list[Check]:
    """Load once; search exactly, through a graph, and with codes."""
    checks: list[Check] = []
    cores = os.cpu_count() or 1

    def note(
        layout: Layout, what: str, unit: str, measured: float, undisturbed: float | None = None
    ) -> None:
        expected = predict(rows, layout, what, cores)
        checks.append(Check(rows, layout.name, what, unit, expected, measured, undisturbed))
        print(f"{rows:>9,}  {line(checks[-1])}", flush=True)

    def note_search(layout: Layout, starting: float = 0.0) -> float:
        """Returns what the first search of a process takes longer than the next."""
        asked = Asked(db, rows, layout)
        alone(search_warm, asked)  # brings the files into the page cache
        warm, cold = alone(search_warm, asked), alone(search_cold, asked)
        note(layout, "query", "s", warm.warm, warm.fastest)
        # What a process's first search costs besides reading is taken out. A graph is read into
        # a warm process too, so there it is what an exact search's first one cost.
        starting = starting or max(0.0, warm.first - warm.warm)
        note(layout, "query from disk", "s", max(warm.warm, cold.first - starting))
        return starting

    exact = Layout(precision)
    note(exact, "load", "s", load(shards, db, precision))
    note(exact, "disk", "B", alone(disk, Asked(db, rows, exact)))
    starting = note_search(exact)
    graph = Layout(precision, index=IndexSpec(), indexed=1, label="hnsw 32/128 image")
    built = alone(build_index, Asked(db, rows, graph))
    note(graph, "build", "s", built.seconds, built.processor_seconds / cores)
    note(graph, "memory to build", "B", built.peak)
    note(graph, "disk while indexing", "B", built.disk_peak)
    note(graph, "graph in memory", "B", built.memory_bytes)
    note(graph, "graph on disk", "B", built.disk_bytes)
    note_search(graph, starting)
    if precision == "bfloat16":
        coded = Layout(precision, codes="rabitq", label="rabitq")
        note(coded, "coding", "s", alone(with_codes, Asked(db, rows, coded)))
        note(coded, "disk", "B", alone(disk, Asked(db, rows, coded)))
        note_search(coded)
    return checks


def predict(rows: int, layout: Layout, what: str, cores: int) -> float:
    """The figure of that name, in bytes or seconds, as the plan has it where memory is no limit."""
    machines = Machines(cores, 2**40)

    def expect(one: Layout) -> Estimate:
        return planning.estimate(one, Collection(rows), machines, Speeds())

    expected, exact = expect(layout), expect(Layout(layout.precision))
    return {
        "load": expected.load_seconds,
        "disk": expected.disk_bytes,
        "query": expected.query_seconds,
        "query from disk": expected.disk_query_seconds,
        "build": expected.index_seconds,
        "memory to build": expected.building_memory_bytes,
        "disk while indexing": expected.indexing_disk_bytes,
        "graph in memory": expected.graph_bytes,
        "graph on disk": expected.disk_bytes - exact.disk_bytes,
        "coding": expected.load_seconds - exact.load_seconds,
    }[what]


def predicted_again(report: dict[str, Any]) -> list[Check]:
    """The checks of a report with what the plan says today."""
    named = {layout.name: layout for layout in planning.layouts(Collection(1))}
    checks = [Check(**values) for values in report["checks"]]
    return [
        replace(
            check,
            predicted=predict(
                check.rows, named[check.layout], check.what, report["machine"]["cores"]
            ),
        )
        for check in checks
    ]


def alone(step: Callable[[Asked], T], asked: Asked) -> T:
    """Run a step in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(step, asked).result()


def line(check: Check) -> str:
    """The check in words; its parts are two blanks or more apart."""
    undisturbed = "-" if check.undisturbed is None else shown(check, check.undisturbed)
    return (
        f"{check.layout:30}  {check.what:20} {shown(check, check.predicted):>14}"
        f"  {shown(check, check.measured):>14}  {check.off:+8.0%}  {undisturbed:>12}"
    )


def shown(check: Check, value: float) -> str:
    if check.unit == "B":
        return f"{value / 1e6:,.1f} MB"
    return f"{value * 1e3:,.1f} ms" if check.what.startswith("query") else f"{value:,.1f} s"


def markdown(checks: Sequence[Check], machine: Machine, load_average: float) -> str:
    rows = [
        "| rows | layout | | predicted | measured | off | undisturbed | |",
        "|---:|---|---|---:|---:|---:|---:|---|",
    ]
    for check in checks:
        words = [part.strip() for part in line(check).split("  ") if part.strip()]
        verdict = "reached" if check.is_good else "missed"
        rows.append(f"| {check.rows:,} | {' | '.join(words)} | {verdict} |")
    good = sum(check.is_good for check in checks)
    exact = [check for check in checks if check.unit == "B"]
    return "\n".join(
        [
            "# Plan",
            "",
            "Generated by `make bench-plan`; changes made by hand are lost.",
            "",
            "What `cliphouse plan` says beforehand, and what then happened, with 2 embeddings of "
            f"{DIM} dimensions a row. The goal is {GOAL:.0%} either way: {good} of {len(checks)} "
            f"reached it, of the bytes {sum(c.is_good for c in exact)} of {len(exact)}.",
            "",
            *rows,
            "",
            f"Queries are text embeddings over images, k = {costs.PLANNED_K}, hnsw at ef "
            f"{costs.PLANNED_EF}, codes at {costs.PLANNED_OVERSAMPLING} times k; url and "
            f"caption are fetched. `query` is the median of {QUERIES} in memory. `query from disk` "
            "is the first one of a process with the files out of the page cache (less what a first "
            "search costs with them in it, but for hnsw, where that is reading the graph).",
            "",
            "`undisturbed` is what is left without other programs: the fastest of the queries, the "
            "processor's seconds of a build over the cores. It is shown and not judged.",
            "",
            "Predictions of time come from constants (Speeds in cliphouse.planning.costs, which "
            "names the source of each: some were set by a run of this benchmark). "
            "Constants for bytes (memory without a "
            "graph, metadata, how a graph compresses) were set from tables of these sizes and "
            "these generated rows: that bytes agree shows the formulas fit, not that they "
            "foretell other data.",
            "",
            f"Machine: {machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, "
            f"{machine.system}, Python {machine.python}; "
            f"{', '.join(f'{name} {number}' for name, number in machine.packages.items())}. "
            f"Load average before the run: {load_average:.1f}"
            + (
                ", so other programs had a part of the cores and times are too long."
                if load_average > machine.cores * 1.5
                else "."
            ),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The plan against the truth.")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--dir", type=Path, help="where to work; needs 15 kB a row")
    parser.add_argument("--no-report", action="store_true", help="print only")
    parser.add_argument(
        "--again", action="store_true", help="the report's figures, against today's formulas"
    )
    options = parser.parse_args()
    if options.again:
        report = json.loads(REPORT.with_suffix(".json").read_text())
        machine = Machine(**report["machine"])
        write_report(predicted_again(report), machine, report["load_average"])
        return
    load_average = os.getloadavg()[0]
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="bench-plan-", dir=options.dir) as base:
        for rows in options.rows:
            checks += check_size(rows, Path(base).resolve())
    if not options.no_report:
        write_report(checks, Machine.here(), load_average)


def write_report(checks: Sequence[Check], machine: Machine, load_average: float) -> None:
    REPORT.write_text(markdown(checks, machine, load_average))
    values = {"machine": asdict(machine), "load_average": load_average}
    values["checks"] = [asdict(check) for check in checks]
    REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
    print(f"written: {REPORT}")


if __name__ == "__main__":
    main()
