"""Killed at any moment and started again, a load ends in the same table as one clean run."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from cliphouse.table.table import Table
from crash import run_and_kill
from shard_files import make_shard

KILLS = 20
_CHECKSUM = (
    "SELECT count() AS rows, uniqExact(id) AS ids, sum(cityHash64(id, url, caption, NSFW, "
    "similarity, image_embedding, text_embedding, width, height, license)) AS checksum FROM laion"
)


def ingest_and_kill(folder: Path, after: float, *options: str) -> bool:
    setup = "from cliphouse.shards import reader; reader.BATCH_ROWS = 25"
    return run_and_kill(folder, setup, ["ingest", "s", "--db", "db", *options], after)


def checksum(folder: Path) -> list[dict[str, int]]:
    with Table(folder) as table:
        return list(table.sql(_CHECKSUM).to_pylist())


@pytest.fixture
def clean(tmp_path: Path) -> list[dict[str, int]]:
    """Ten shards in ``tmp_path/s`` and the checksum of a table loaded from them in one run."""
    for number in range(10):
        make_shard(tmp_path / "s", number, rows=400, dim=64)
    with Table(tmp_path / "clean") as table:
        table.ingest(tmp_path / "s")
        return list(table.sql(_CHECKSUM).to_pylist())


def test_a_killed_load_ends_as_a_clean_one(tmp_path: Path, clean: list[dict[str, int]]) -> None:
    started = time.monotonic()
    ingest_and_kill(tmp_path, 60)
    length = time.monotonic() - started
    shutil.rmtree(tmp_path / "db")
    chance = random.Random(3)
    kills = partial = 0
    while kills < KILLS or (partial < 3 and kills < 3 * KILLS):
        killed = ingest_and_kill(tmp_path, chance.uniform(0, length))
        kills += killed
        if not killed:
            assert checksum(tmp_path / "db") == clean
            shutil.rmtree(tmp_path / "db")
        elif (tmp_path / "db").exists():
            with Table(tmp_path / "db") as table:
                names = table.sql("SHOW TABLES").column("name").to_pylist()
                rows = checksum(tmp_path / "db")[0]["rows"] if "laion" in names else 0
            partial += 0 < rows < clean[0]["rows"]
    assert partial >= 3, "the kills did not fall into the load"
    ingest_and_kill(tmp_path, 60)
    assert checksum(tmp_path / "db") == clean
    assert clean[0]["rows"] == clean[0]["ids"] == 4000
    with Table(tmp_path / "db") as table:
        assert table.summary().unfinished == ()


def test_a_killed_replacement_leaves_old_or_new(
    tmp_path: Path, clean: list[dict[str, int]]
) -> None:
    with Table(tmp_path / "db") as table:
        table.ingest(tmp_path / "s")
    make_shard(tmp_path / "s", 4, rows=300, dim=64, seed=77)
    with Table(tmp_path / "new") as table:
        table.ingest(tmp_path / "s")
        new = table.sql(_CHECKSUM).to_pylist()
    chance = random.Random(4)
    for _ in range(8):
        ingest_and_kill(tmp_path, chance.uniform(0.05, 0.6), "--replace")
        assert checksum(tmp_path / "db") in (clean, new)
    ingest_and_kill(tmp_path, 60, "--replace")
    assert checksum(tmp_path / "db") == new
