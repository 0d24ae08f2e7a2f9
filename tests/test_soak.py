"""A few seconds of the soak (benchmarks/soak.py), which `make soak` does for two minutes."""

from __future__ import annotations

from pathlib import Path

from forked import python
from soak import Plan, soak


def test_searches_and_loads_at_once(tmp_path: Path) -> None:
    plan = Plan(tmp_path, 0.2, searchers=2, shards=3, rows=200, python=tuple(python()))
    outcome = soak(plan)
    assert outcome.is_good, outcome.problems
    assert outcome.searches >= 2
    assert outcome.loads >= 2
    assert outcome.rows >= 400
