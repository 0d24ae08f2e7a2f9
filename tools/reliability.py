"""Writes the figures of docs/reliability.md from the report of a test run.

    pytest --junitxml=report.xml
    python tools/reliability.py report.xml

Each promise of the page names the files of its tests. The page tells how many tests these files
had in the run, and what they counted (see tests/tally.py). A run in which one failed is refused.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from xml.etree import ElementTree

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
# What is counted, in the words of the page, in its order.
COUNTED = {
    "kills": "kill",
    "interrupts": "Ctrl-C",
    "faults": "fault",
    "full disks": "full disk",
    "inputs": "random input",
}
_PROMISE = re.compile(r"^\| (?P<promise>.+?) \| (?P<how>.+?) \| (?P<run>.*?) ?\|$", re.MULTILINE)
_FILE = re.compile(r"`(test_[\w*]+)\.py`")


@dataclass
class FileRun:
    """The tests of one file in a run: how many there were, and what they counted."""

    tests: int = 0
    failed: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Promise:
    """A row of the page's table: the promise and the files of its tests, which may have a *."""

    text: str
    files: Sequence[str]


def read_report(path: Path) -> dict[str, FileRun]:
    """The run of each file of tests, by its name without the ending."""
    runs: dict[str, FileRun] = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = case.get("classname", "").rpartition(".")[2]
        run = runs.setdefault(name, FileRun())
        run.tests += 1
        if any(case.find(kind) is not None for kind in ("failure", "error", "skipped")):
            run.failed.append(f"{name}.py::{case.get('name')}")
        for given in case.iter("property"):
            run.counts[given.get("name", "")] += int(given.get("value", "0"))
    return runs


def promises(page: str) -> list[Promise]:
    """The promises of the page's table."""
    rows = [match for match in _PROMISE.finditer(page) if _FILE.search(match["how"])]
    return [Promise(match["promise"], _FILE.findall(match["how"])) for match in rows]


def figures(promise: Promise, runs: Mapping[str, FileRun]) -> str:
    """What the tests of a promise did in a run, as the page tells it."""
    chosen = [run for name, run in runs.items() if any(fnmatch(name, f) for f in promise.files)]
    counts: Counter[str] = sum((run.counts for run in chosen), Counter())
    told = [_counted(sum(run.tests for run in chosen), "test")]
    told += [_counted(counts[what], one) for what, one in COUNTED.items() if counts[what]]
    return ", ".join(told)


def fill_in(page: str, runs: Mapping[str, FileRun]) -> str:
    """The page with the figures of a run. Raises ValueError if a test of a promise failed, was
    skipped or is not in the run."""
    for promise in promises(page):
        for pattern in promise.files:
            found = [run for name, run in runs.items() if fnmatch(name, pattern)]
            if not found:
                raise ValueError(f"{pattern}.py: not in this run")
            if failed := [name for run in found for name in run.failed]:
                raise ValueError(f"{failed[0]}: has not passed")

    def row(match: re.Match[str]) -> str:
        files = _FILE.findall(match["how"])
        if not files:
            return match[0]
        run = figures(Promise(match["promise"], files), runs)
        return f"| {match['promise']} | {match['how']} | {run} |"

    return _PROMISE.sub(row, page)


def _counted(number: int, one: str) -> str:
    return f"{number:,} {one}" if number == 1 or one == "Ctrl-C" else f"{number:,} {one}s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="what pytest --junitxml has written")
    report: Path = parser.parse_args().report
    try:
        PAGE.write_text(fill_in(PAGE.read_text(), read_report(report)))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        sys.exit(f"{report}: {error}")


if __name__ == "__main__":
    main()
