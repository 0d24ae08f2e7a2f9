"""What columns of a table's own cost: loading with twelve of them, and filtering by one.

    python benchmarks/columns.py [--rows N] [--repeat N] [--dir DIR] [--no-report]

The same shard is loaded in turn without further columns and with twelve, each time by the command
in a process of its own, from its start to its end, into a new folder. Then exact searches filter by
them. A full run writes docs/benchmarks/columns.md and columns.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import cliphouse
from clip_like import ClipLike, write_shard
from ingest import Machine, disk_used

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "columns.md"
QUERIES, WARM_UP = 30, 3
GOAL = 0.15  # of the rows a second that twelve columns may cost
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "aesthetic at least 6": {"aesthetic": {"min": 6}},
    "language en or de": {"language": ["en", "de"]},
    "one of the tags": {"tags": ["tag 7"]},
    "taken in one month": {"taken": {"min": "2021-03-01", "max": "2021-03-31"}},
    "caption contains clock": {"caption_contains": "clock"},
}


@dataclass(frozen=True)
class Load:
    """Seconds of one load, and the bytes on disk that it left."""

    columns: int
    seconds: float
    disk: int


@dataclass(frozen=True)
class Timing:
    """Milliseconds of an exact search with a filter that the share ``passing`` of rows meets."""

    name: str
    p50: float
    p95: float
    passing: float


def twelve_columns(rows: int) -> dict[str, pa.Array]:
    """Columns as LAION-5B, DataComp and img2dataset have them."""
    rng = np.random.default_rng(3)
    words = pa.array([f"tag {n}" for n in range(200)])
    tags = words.take(pa.array(rng.integers(0, 200, 3 * rows)))
    size = pa.struct([("Make", pa.string()), ("ISO", pa.int32())])
    exif = [{"Make": "x", "ISO": n} for n in range(100)]
    days = rng.integers(1_577_836_800_000, 1_672_531_200_000, rows)
    offsets = pa.array(np.arange(0, 3 * rows + 1, 3, dtype=np.int32))
    return {
        "aesthetic": pa.array(rng.normal(5, 1, rows).astype("f4")),
        "punsafe": pa.array(rng.random(rows).astype("f4")),
        "pwatermark": pa.array(rng.random(rows)),
        "language": pa.array(np.array(["en", "de", "fr", "zh", "es"])[rng.integers(0, 5, rows)]),
        "sha256": pa.array([f"{n:064x}" for n in rng.integers(0, 2**62, rows)]),
        "original_width": pa.array(rng.integers(100, 5000, rows).astype("i4")),
        "original_height": pa.array(rng.integers(100, 5000, rows).astype("i4")),
        "key": pa.array(np.arange(rows)),
        "is_good": pa.array(rng.random(rows) < 0.5),
        "tags": pa.ListArray.from_arrays(offsets, tags),
        "taken": pa.array(days, pa.timestamp("ms", "UTC")),
        "exif": pa.array([exif[n % 100] for n in range(rows)], size),
    }


def make(folder: Path, rows: int) -> None:
    """The shard plain/, and the same with further columns in wide/."""
    write_shard(folder / "plain", 0, rows)
    shutil.copytree(folder / "plain", folder / "wide", copy_function=os.link)
    path = folder / "wide" / "metadata" / "metadata_0.parquet"
    table = pq.read_table(path)
    path.unlink()
    for name, column in twelve_columns(rows).items():
        table = table.append_column(name, column)
    pq.write_table(table, path)


def load(folder: Path, kind: str, columns: int, number: int) -> Load:
    """Load into the folder ``kind-number.chdb``, and give back the room of the one before.

    Its files are emptied and not removed: for some minutes after many files were removed, ext4
    takes its time to make new ones, and twelve columns are sixty files in each part.
    """
    db = folder / f"{kind}-{number}.chdb"
    for file in (folder / f"{kind}-{number - 1}.chdb").rglob("*"):
        if file.is_file() and not file.is_symlink():
            os.truncate(file, 0)
    command = [sys.executable, "-m", "cliphouse", "ingest", str(folder / kind), "--db", str(db)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    return Load(columns, seconds, disk_used(db))


def time_filters(db: Path, rows: int) -> list[Timing]:
    asked = ClipLike().vectors(rows, rows + QUERIES + WARM_UP).text
    found = []
    with cliphouse.open(db) as table:
        table.sql(f"OPTIMIZE TABLE {table.name} FINAL")  # or merges would take part in the times
        for name, columns in FILTERS.items():
            times = []
            for vector in asked:
                started = time.perf_counter()
                table.search(vector, mode="exact", fields="url,caption", filter=columns)  # type: ignore[arg-type]
                times.append((time.perf_counter() - started) * 1000)
            passing = sum(
                each.rows for each in table.facets(["is_good"], request(columns))[0].values
            )
            p50, p95 = statistics.median(times[WARM_UP:]), np.percentile(times[WARM_UP:], 95)
            found.append(Timing(name, p50, float(p95), passing / rows))
            print(f"  {name}: {p50:.1f} ms", flush=True)
    return found


def request(columns: dict[str, Any]) -> cliphouse.Request:
    return cliphouse.Request.read({"filter": columns})


def markdown(
    rows: int, loads: Sequence[Load], timings: Sequence[Timing], machine: Machine, busy: float
) -> str:
    rates = {
        columns: rows / statistics.median(one.seconds for one in loads if one.columns == columns)
        for columns in (0, 12)
    }
    cost = 1 - rates[12] / rates[0]
    verdict = "reached" if cost <= GOAL else "missed"
    lines = [
        "# Columns of one's own",
        "",
        "Generated by `make bench-columns`; changes made by hand are lost.",
        "",
        f"A shard of {rows:,} rows with both embeddings of 512 dimensions, loaded by the command "
        "from its start to its end, in turn without further columns and with twelve: numbers, "
        "texts, a boolean, a list, a time and a struct. Medians; in brackets the fastest and the "
        "slowest.",
        "",
        "| further columns | rows/s | seconds | disk |",
        "|---:|---:|---|---:|",
    ]
    for columns in (0, 12):
        times = [one.seconds for one in loads if one.columns == columns]
        disk = max(one.disk for one in loads if one.columns == columns)
        lines.append(
            f"| {columns} | {rates[columns]:,.0f} | {statistics.median(times):.2f} "
            f"({min(times):.2f}-{max(times):.2f}) | {disk / 1e6:,.0f} MB |"
        )
    lines += [
        "",
        f"Twelve columns cost {cost:.0%} of the rows a second; {GOAL:.0%} was the goal: {verdict}.",
        "",
        "Exact searches for ten rows by words, with a filter, once the table is merged:",
        "",
        "| filter | rows that meet it | p50, ms | p95, ms |",
        "|---|---:|---:|---:|",
        *(f"| {t.name} | {t.passing:.1%} | {t.p50:.1f} | {t.p95:.1f} |" for t in timings),
        "",
        f"Machine: {machine.in_words()}. Load average before the run: {busy:.1f}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What further columns cost.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where to work; needs 15 kB a row")
    parser.add_argument("--no-report", action="store_true", help="print only")
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-columns-", dir=options.dir) as base:
        folder = Path(base).resolve()
        make(folder, options.rows)
        loads: list[Load] = []
        for number in range(options.repeat):
            loads += [load(folder, "plain", 0, number), load(folder, "wide", 12, number)]
            print(f"  {loads[-2].seconds:.2f} s, {loads[-1].seconds:.2f} s", flush=True)
        timings = time_filters(folder / f"wide-{options.repeat - 1}.chdb", options.rows)
    machine = Machine.here()
    report = markdown(options.rows, loads, timings, machine, busy)
    print(report)
    if not options.no_report:
        REPORT.write_text(report)
        values = {"machine": asdict(machine), "load_average": busy, "rows": options.rows}
        values["loads"] = [asdict(one) for one in loads]
        values["filters"] = [asdict(one) for one in timings]
        REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
        print(f"written: {REPORT}")


if __name__ == "__main__":
    main()
