"""A few seconds of the soak (benchmarks/soak.py), which `make soak` does for two minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from forked import python
from soak import Plan, soak


@pytest.mark.parametrize("with_service", [True, False])
def test_searches_and_loads_at_once(tmp_path: Path, with_service: bool) -> None:
    outcome = soak(
        Plan(
            tmp_path,
            seconds=1.0,
            searchers=2,
            shards=4,
            rows=200,
            with_service=with_service,
            python=tuple(python()),
        )
    )
    assert outcome.is_good, outcome.problems
    assert outcome.searches >= 2
    assert outcome.loads >= 2
    assert outcome.rows >= 400
