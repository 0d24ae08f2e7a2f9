"""How long `cliphouse sync` takes: the first time, on an unchanged folder, and after ten changes.

    python benchmarks/sync.py [--pictures N] [--repeat N] [--dir DIR] [--no-report]

Each sync is the command in a process of its own, from its start to its end, with the tiny model
that comes with the package: what is measured is the way of pictures into the table, and not a large
network. rclip is installed into an environment of its own, and gets the tiny model in the place of
its own (rclip_index.py). A full run writes docs/benchmarks/sync.md and sync.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ingest import Machine, disk_used

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "sync.md"
PER_FOLDER = 500
SIZE = 96
RCLIP_SCRIPT = Path(__file__).with_name("rclip_index.py")
GOALS = {"unchanged": 5.0, "ten changes": 3.0}  # seconds
DONE = {
    "first": "all pictures are new",
    "unchanged": "nothing has changed",
    "ten changes": "four new, two changed, two renamed, two deleted",
    "moved": "the whole folder has another name",
}


@dataclass(frozen=True)
class Sync:
    """A run of a program: what has changed before, its wall and its processor seconds."""

    program: str
    kind: str
    seconds: float
    cpu: float


def draw(folder: Path, count: int, seed: int = 0) -> None:
    """Small JPEG files, all of them different, in folders of 500."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        path = folder / f"{number // PER_FOLDER:03}" / f"picture {number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = rng.integers(0, 256, (4, 4, 3), np.uint8)
        image = Image.fromarray(blocks).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        image.save(path, quality=85)


@dataclass(frozen=True)
class Program:
    """A program that keeps an index of a folder: a command that takes the folder and then where the
    index is, and what it adds to the environment."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]

    def run(self, folder: Path, base: Path, kind: str) -> Sync:
        command = [part.format(folder=folder, base=base) for part in self.command]
        environment = os.environ | self.environment
        before, started = os.times(), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        seconds, after = time.perf_counter() - started, os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])
        print(f"  {self.name}, {kind}: {seconds:.2f} s, {cpu:.2f} s of processor time", flush=True)
        return Sync(self.name, kind, seconds, cpu)


CLIPHOUSE = Program(
    "cliphouse",
    (
        *(sys.executable, "-m", "cliphouse", "sync", "{folder}", "--db", "{base}/db"),
        *("--model", "tiny"),
    ),
    {},
)


def rclip(base: Path) -> Program | None:
    """rclip, installed below ``base``; None if it cannot be had here."""
    home = base / "rclip"
    python = home / "bin" / "python"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "rclip>=3,<4", "psutil"]
        subprocess.run(install, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"rclip cannot be installed: {error}")
        return None
    source = str(RCLIP_SCRIPT.parents[1] / "src")
    command = (str(python), str(RCLIP_SCRIPT), "{folder}", "{base}/rclip.sqlite3")
    return Program("rclip", command, {"PYTHONPATH": source})


def change_ten(folder: Path, turn: int) -> None:
    """Four new pictures, two changed ones, two renamed ones and two deleted ones."""
    pictures = sorted(folder.rglob("*.jpg"))
    chosen = [pictures[(turn * 101 + 37 * n) % len(pictures)] for n in range(6)]
    draw(folder / f"new {turn}", 4, turn + 1)
    for number, path in enumerate(chosen):
        if number < 2:
            Image.new("RGB", (SIZE, SIZE), (turn, number, 90)).save(path)
        elif number < 4:
            path.rename(path.with_name(f"renamed {turn} {path.name}"))
        else:
            path.unlink()


def measure(
    programs: Sequence[Program], base: Path, pictures: int, repeat: int
) -> tuple[list[Sync], int]:
    """All runs, and the bytes on disk of the database and its shards."""
    folder = base / "pictures"
    draw(folder, pictures)
    syncs: list[Sync] = []

    def run(kind: str) -> None:
        syncs.extend(program.run(folder, base, kind) for program in programs)

    run("first")
    for turn in range(repeat):
        run("unchanged")
        change_ten(folder, turn)
        run("ten changes")
    folder = folder.rename(base / "moved")
    run("moved")
    return syncs, disk_used(base / "db") + disk_used(base / "db.shards")


def _line(program: str, kind: str, what: str, pictures: int, syncs: Sequence[Sync]) -> str:
    found = [one for one in syncs if (one.program, one.kind) == (program, kind)]
    times = [one.seconds for one in found]
    median = statistics.median(times)
    goal = ""
    if program == CLIPHOUSE.name and kind in GOALS:
        verdict = "reached" if median <= GOALS[kind] else "missed"
        goal = f"{GOALS[kind]:.0f} s: {verdict}"
    return (
        f"| {program} | {what} | {median:.2f} ({min(times):.2f}-{max(times):.2f}) | "
        f"{statistics.median(one.cpu for one in found):.2f} | {pictures / median:,.0f} | {goal} |"
    )


def markdown(pictures: int, syncs: Sequence[Sync], disk: int, machine: Machine, busy: float) -> str:
    programs = list(dict.fromkeys(one.program for one in syncs))
    lines = [
        "# Keeping in step with a folder",
        "",
        "Generated by `make bench-sync`; changes made by hand are lost.",
        "",
        f"`cliphouse sync` of {pictures:,} JPEG files of {SIZE} x {SIZE} pixels with the tiny "
        "model, by the command in a process of its own, from its start to its end. Medians; in "
        "brackets the fastest and the slowest.",
        "",
        "| program | what has changed | seconds | processor seconds | pictures/s | goal |",
        "|---|---|---|---:|---:|---|",
        *(
            _line(program, kind, what, pictures, syncs)
            for kind, what in DONE.items()
            for program in programs
        ),
        "",
        f"The database and its shards take {disk / 1e6:,.0f} MB.",
        "",
        "rclip indexes with the tiny model in the place of its own network and preprocessing, so "
        "both do the same work for each picture; its own model has to be downloaded. It keeps the "
        "vectors of pictures in SQLite. cliphouse also encodes a caption for each picture, reads "
        "its EXIF, IPTC and XMP, and loads the rows into the database."
        if "rclip" in programs
        else "rclip could not be installed here, so it is not measured.",
        "",
        f"Machine: {machine.in_words()}. Load average before the run: {busy:.1f}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="How long sync takes.")
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where to work; needs 12 kB a picture")
    parser.add_argument("--no-report", action="store_true", help="print only")
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-sync-", dir=options.dir) as name:
        base = Path(name).resolve()
        programs = [one for one in (CLIPHOUSE, rclip(base)) if one is not None]
        syncs, disk = measure(programs, base, options.pictures, options.repeat)
    machine = Machine.here()
    report = markdown(options.pictures, syncs, disk, machine, busy)
    print(report)
    if not options.no_report:
        REPORT.write_text(report)
        values = {"machine": asdict(machine), "load_average": busy, "disk": disk}
        syncs_json = [asdict(one) for one in syncs]
        values |= {"pictures": options.pictures, "syncs": syncs_json}
        REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
        print(f"written: {REPORT}")


if __name__ == "__main__":
    main()
