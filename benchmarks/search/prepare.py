"""Preparing: each step of each contender once, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from ingest import Watch, disk_used
from search import catalogue
from search.place import Place, StepRecord

HERE = Path(__file__).resolve().parents[1]


def prepare(base: Path, rows: list[int], names: list[str]) -> None:
    """Do the steps that are not done yet. Raises SystemExit where one fails."""
    for size in catalogue.curve_rows(rows):
        place = Place(base, size)
        place.root.mkdir(parents=True, exist_ok=True)
        for step in catalogue.steps(catalogue.contenders_at(size, rows, names)):
            if step not in place.done():
                print(f"{size:,} rows: {step} ...", end=" ", flush=True)
                done = run_step(place, step)
                place.record(done)
                print(
                    f"{done.seconds:.1f} s, {done.memory / 1e6:,.0f} MB of memory, "
                    f"{done.disk / 1e6:+,.0f} MB on disk",
                    flush=True,
                )


def run_step(place: Place, step: str) -> StepRecord:
    """Run a step as a process, and watch its memory."""
    before = disk_used(place.root)
    started = time.perf_counter()
    process = subprocess.Popen(command(place, "--step", step), cwd=HERE)
    watch = Watch(process.pid, place.root)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    failed = process.wait()
    seconds = time.perf_counter() - started
    watch.stop()
    thread.join()
    if failed:
        raise SystemExit(f"{step} failed at {place.rows:,} rows; what is done is kept")
    used = disk_used(place.root) - before
    return StepRecord(step, seconds, watch.memory, used, os.getloadavg()[0])


def command(place: Place, *options: str) -> list[str]:
    """This program again, for one task at one place."""
    where = ["--dir", str(place.base), "--rows", str(place.rows)]
    return [sys.executable, "-m", "search", "task", *where, *options]
