"""The command: prepare, measure, report, or all three."""

from __future__ import annotations

import argparse
from pathlib import Path

from search import catalogue
from search.measure import measure, run_contender
from search.parts import run_parts
from search.place import Place
from search.prepare import HERE, prepare
from search.report import report

ROWS = [100_000, 1_000_000]


def main() -> None:
    options = _parser().parse_args()
    base = options.dir.resolve()
    names = options.only or list(catalogue.CONTENDERS)
    if options.stage == "task":
        _task(Place(base, options.rows[0]), options)
        return
    if options.stage in ("prepare", "all"):
        prepare(base, options.rows, names)
    if options.stage in ("measure", "all"):
        measure(base, options.rows, names, options.rounds)
    if options.stage in ("report", "all"):
        report(base, options.rows, options.out)


def _task(place: Place, options: argparse.Namespace) -> None:
    """What prepare and measure have done in a process of its own."""
    if options.step:
        every = catalogue.steps(list(catalogue.CONTENDERS.values()))
        every[options.step].build(place)
    elif options.parts:
        run_parts(place, options.round)
    else:
        contender = catalogue.CONTENDERS[options.contender]
        run_contender(place, contender, options.round, options.curve)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="search", description="Search, side by side.")
    parser.add_argument("stage", choices=("prepare", "measure", "report", "all", "task"))
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--only", nargs="+", choices=catalogue.CONTENDERS, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--dir", type=Path, default=HERE.parent / "bench-search", help="needs 50 kB a row"
    )
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "benchmarks")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--parts", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--round", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--curve", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
