"""Figures in words, and the lines of info that are made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cliphouse.indexing.forecast import IndexForecast
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.wording import counted
from conftest import Run
from shard_files import make_shard


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 parts"), (1, "1 part"), (2, "2 parts"), (5000, "5,000 parts")],
)
def test_a_number_has_the_form_of_its_noun(number: int, words: str) -> None:
    assert counted(number, "part") == words


def test_info_writes_counts_and_times_as_one_says_them(tmp_path: Path, run: Run) -> None:
    make_shard(tmp_path / "s", 0)
    run("ingest", "s")
    words = [line.split(maxsplit=1) for line in run("info").stdout.splitlines()]
    facts = dict(pair for pair in words if len(pair) == 2)
    assert facts["rows"].strip() == "20 in 1 part"
    assert re.fullmatch(r"1, loaded \d{4}-\d\d-\d\d \d\d:\d\d \w+", facts["shards"].strip())


@pytest.mark.parametrize(
    ("rows", "words"),
    [(1, "1 row x (512 x 2 bytes + M 32 x 8 bytes) = 1.3 kB"), (2_000, "2,000 rows x ")],
)
def test_the_memory_of_an_index_is_said_in_units_that_fit(rows: int, words: str) -> None:
    spec = IndexSpec("image", m=32)
    expected = IndexForecast(spec, rows, 512, spec.memory_bytes(rows, 512), None, None)
    assert expected.sum.startswith(words)
