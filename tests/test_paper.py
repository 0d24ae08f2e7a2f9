"""The page on LAION's sizes says what the formulas say today, and they what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forked import python

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "400-million-5-billion.md"
sys.path.insert(0, str(ROOT / "tools"))
from paper_data import TARGETS, WidthLaw, width_law  # noqa: E402


def check(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*python(), str(ROOT / "tools" / "paper.py"), "--check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def cells(table: str) -> list[list[str]]:
    """The rows of the page's table of that name, without its headings."""
    text = PAGE.read_text().partition(f"<!-- table: {table} -->\n")[2].partition("<!--")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_the_page_is_up_to_date() -> None:
    """If this fails, run: python tools/paper.py"""
    finished = check()
    assert finished.returncode == 0, finished.stderr


def test_other_prices_make_another_page(tmp_path: Path) -> None:
    mine = tmp_path / "machines.csv"
    mine.write_text((ROOT / "tools" / "machines.csv").read_text().replace(",1200,", ",1300,"))
    finished = check("--machines", mine)
    assert finished.returncode == 1
    assert finished.stderr.startswith("400-million-5-billion.md is not what")


def test_figures_reckoned_by_hand_are_in_the_tables() -> None:
    rows = {(row[0], row[1]): row for row in cells("laion400m")}
    exact = rows["server, 1 huge", "BFloat16, exact"]
    # 2 x (512 x 2 + 8) + 90 bytes a row and 28 for 64 rows on disk, of which one column of vectors
    # is scanned at the memory's 200 GB/s.
    assert exact[3] == f"{400_000_000 * (2154 + 28 / 64) / 1e9:.1f} GB"
    assert float(exact[7].split()[0]) == pytest.approx(400_000_000 * 1032 / 2e11, abs=0.1)
    a_second = 2e11 / (400_000_000 * 1032)
    dollars = 5000 * 1e6 / a_second / (730 * 3600)
    rented = exact[10].partition("/")[0].strip(" $").replace(",", "")
    assert float(rented) == pytest.approx(dollars, rel=0.01)
    graph = next(row for row in cells("nodes") if row[1] == "cluster, 36 large")
    assert graph[5] == f"{162_500_000 * (768 * 2 + 8 * 32) / 1e9:.1f} GB"
    assert all("fit" in row[-1] for row in cells("laion5b") if row[1].startswith("BFloat16, hnsw"))


@pytest.mark.parametrize("kind", list(TARGETS))
def test_the_law_of_widths_goes_through_what_was_measured(kind: str) -> None:
    timings = json.loads((ROOT / "docs" / "benchmarks" / "search.json").read_text())["timings"]
    needed = {}
    for rows in (100_000, 1_000_000):
        points = sorted(
            (timing["recall"], int(timing["case"][3:]))
            for timing in timings
            if (timing["contender"], timing["rows"], timing["kind"]) == ("hnsw", rows, kind)
            and timing["case"].startswith("ef ")
        )
        recall, ef = np.array(points).T
        needed[rows] = float(np.exp(np.interp(TARGETS[kind], recall, np.log(ef))))
    law = width_law(kind)
    for rows, width in needed.items():
        assert law.at(rows) == pytest.approx(width, rel=0.05)


def test_a_law_of_widths_is_a_power_to_two_digits() -> None:
    law = WidthLaw(1_000_000, 1460.0, 0.5)
    assert [law.at(rows) for rows in (10_000, 1_000_000, 100_000_000)] == [150, 1500, 15_000]


def test_every_figure_held_against_a_measurement_is_near_it() -> None:
    ratios = [float(row[4]) for row in cells("measured")]
    assert len(ratios) > 20
    assert min(ratios) > 0.5 and max(ratios) < 2
