"""How long a command takes: whole processes, from the shell's point of view.

    python benchmarks/cli.py [--rounds N] [--rows N] [--dir DIR] [--no-report]

The table is the demo's: drawn pictures, embedded by the tiny model, indexed and measured. Each
round runs every command once, so that a busy moment of the machine meets all of them; the first
round is not counted. Time is on the wall and of the processor (of all cores, the engine's threads
included): the second depends less on what else runs. What no command of ours can do without is
measured beside: the interpreter, the libraries, and the engine opened by its driver. A run writes
docs/benchmarks/cli.md and cli.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cliphouse.demo import DEFAULT_ROWS
from ingest import Machine

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "cli.md"
PACKAGES = ("chdb-core", "clickhouse-connect", "pyarrow", "numpy", "onnxruntime", "typer")
_COMPILE_ANEW = "PYTHONDONTWRITEBYTECODE"
_OPEN = (
    "import clickhouse_connect as c, os; "
    "c.get_client(dsn='chdb://{db}').query_arrow('SELECT 1'); os._exit(0)"
)


@dataclass(frozen=True)
class Measured:
    """One command: seconds on the wall and of the processor, run by run, and the wanted median."""

    command: str
    wall: tuple[float, ...]
    processor: tuple[float, ...]
    wanted: float | None = None


@dataclass(frozen=True)
class Figures:
    """``load`` is the load average before and after; 0 is a machine that does nothing else."""

    machine: str
    rows: int
    load: tuple[float, float]
    commands: tuple[Measured, ...]
    floor: tuple[Measured, ...]


def ours(db: Path) -> dict[str, tuple[list[str], float | None]]:
    """The commands that are measured, by how they are shown, with the wanted time."""
    asked: tuple[tuple[list[str], float | None], ...] = (
        (["--version"], None),
        (["--help"], 0.2),
        (["search", "--help"], None),
        (["search", "id:42"], 0.45),
        (["search", "two blue circles"], 0.65),
        (["info"], None),
        (["sql", "SELECT 1"], None),
        (["sql", "SELECT length(encode_text('a red heart'))"], None),
    )
    here = [sys.executable, "-m", "cliphouse"]
    return {
        shlex.join(["cliphouse", *words]): ([*here, *words, *_database(words, db)], wanted)
        for words, wanted in asked
    }


def _database(words: Sequence[str], db: Path) -> list[str]:
    return [] if words[-1].startswith("--") else ["--db", str(db)]


def beside(db: Path) -> dict[str, tuple[list[str], float | None]]:
    """What a command cannot do without, by how it is shown."""
    asked = {
        "python -c pass": "pass",
        "import typer": "import typer",
        "import numpy, pyarrow": "import numpy, pyarrow",
        "import clickhouse_connect": "import clickhouse_connect",
        "import chdb": "import chdb",
        "the engine opened by its driver, SELECT 1": _OPEN.format(db=db),
    }
    return {shown: ([sys.executable, "-c", code], None) for shown, code in asked.items()}


def measure(
    commands: dict[str, tuple[list[str], float | None]], rounds: int
) -> tuple[Measured, ...]:
    """Run all commands in turn, ``rounds`` times and once before."""
    wall: dict[str, list[float]] = {shown: [] for shown in commands}
    processor: dict[str, list[float]] = {shown: [] for shown in commands}
    for _ in range(rounds + 1):
        for shown, (command, _) in commands.items():
            used, started = _used_by_children(), time.perf_counter()
            done = subprocess.run(command, capture_output=True, env=_environment())
            wall[shown].append(round(time.perf_counter() - started, 4))
            processor[shown].append(round(_used_by_children() - used, 4))
            if done.returncode:
                raise SystemExit(f"{shown}: exit code {done.returncode}: {done.stderr!r}")
    return tuple(
        Measured(shown, tuple(wall[shown][1:]), tuple(processor[shown][1:]), wanted)
        for shown, (_, wanted) in commands.items()
    )


def _environment() -> dict[str, str]:
    """With modules compiled once, as they are where a package is installed."""
    return {name: value for name, value in os.environ.items() if name != _COMPILE_ANEW}


def _used_by_children() -> float:
    """Seconds of the processor that this process's ended children took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def page(figures: Figures) -> str:
    before, after = figures.load
    rounds = len(figures.commands[0].wall)
    lines = [
        "# What a command takes",
        "",
        f"`make bench-cli`: whole processes, {rounds} rounds of all commands in turn after one "
        f"that is not counted; the demo's table of {figures.rows:,} pictures, model tiny. "
        f"{figures.machine}. Load average of the machine: {before:.1f} before and {after:.1f} "
        "after; 1 is this benchmark itself, and other work makes all times longer.",
        "",
        "| command | median, s | smallest to largest | processor, median s | wanted, s | |",
        "|---|---:|---:|---:|---:|---|",
        *map(_row, figures.commands),
        "",
        "What a command cannot do without:",
        "",
        "| | median, s | smallest to largest | processor, median s |",
        "|---|---:|---:|---:|",
        *(_row(one).removesuffix(" | | |") + " |" for one in figures.floor),
    ]
    return "\n".join(lines) + "\n"


def _row(one: Measured) -> str:
    wall = statistics.median(one.wall)
    wanted = " | " if one.wanted is None else f"{one.wanted:.2f} | "
    if one.wanted is not None:
        wanted += "reached" if wall <= one.wanted else "missed"
    return (
        f"| {one.command} | {wall:.2f} | {min(one.wall):.2f} to {max(one.wall):.2f} | "
        f"{statistics.median(one.processor):.2f} | {wanted.strip()} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="pictures in the table")
    parser.add_argument("--dir", type=Path, help="keep the table there")
    parser.add_argument("--no-report", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = (options.dir or Path(made)).resolve()
        rows = ["--rows", str(options.rows)]
        subprocess.run(
            [sys.executable, "-m", "cliphouse", "demo", "--dir", folder, *rows],
            check=True,
            capture_output=True,
        )
        before, db = os.getloadavg()[0], folder / "laion.chdb"
        known = ours(db) | beside(db)
        measured = measure(known, options.rounds)
    split = len(ours(db))
    load = (round(before, 1), round(os.getloadavg()[0], 1))
    machine = Machine.here(PACKAGES).in_words()
    figures = Figures(machine, options.rows, load, measured[:split], measured[split:])
    print(page(figures))
    if not options.no_report:
        REPORT.write_text(page(figures))
        REPORT.with_suffix(".json").write_text(json.dumps(asdict(figures), indent=1) + "\n")


if __name__ == "__main__":
    main()
