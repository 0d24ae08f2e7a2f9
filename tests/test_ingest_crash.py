"""Killed at any moment and started again, a load ends in the same table as one clean run."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from cliphouse.table import Table
from crash import TELL, count_steps, run_and_kill
from shard_files import make_shard

KILLS = 20
_CHECKSUM = (
    "SELECT count() AS rows, uniqExact(id) AS ids, sum(cityHash64(id, url, caption, NSFW, "
    "similarity, image_embedding, text_embedding, width, height, license)) AS checksum FROM laion"
)


_SETUP = f"""{TELL}
from cliphouse.shards import reader
from cliphouse.engine.connection import Connection
reader.BATCH_ROWS = 25
tell(Connection, "command", "query", "insert")
"""
_INGEST = ["ingest", "s", "--db", "db"]


def ingest_and_kill(folder: Path, after: float, *options: str, steps: int = 0) -> bool:
    return run_and_kill(folder, _SETUP, [*_INGEST, *options], after, steps)


def checksum(folder: Path) -> list[dict[str, int]]:
    with Table(folder) as table:
        return list(table.sql(_CHECKSUM).to_pylist())


@pytest.fixture
def clean(tmp_path: Path) -> list[dict[str, int]]:
    """Six shards in ``tmp_path/s`` and the checksum of a table loaded from them in one run."""
    for number in range(6):
        make_shard(tmp_path / "s", number, rows=200, dim=64)
    with Table(tmp_path / "clean") as table:
        table.ingest(tmp_path / "s")
        return list(table.sql(_CHECKSUM).to_pylist())


def test_a_killed_load_ends_as_a_clean_one(tmp_path: Path, clean: list[dict[str, int]]) -> None:
    steps = count_steps(tmp_path, _SETUP, _INGEST)
    shutil.rmtree(tmp_path / "db")
    chance = random.Random(3)
    kills = partial = 0
    while kills < KILLS or (partial < 3 and kills < 3 * KILLS):
        killed = ingest_and_kill(tmp_path, chance.uniform(0, 0.02), steps=chance.randrange(steps))
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
    assert clean[0]["rows"] == clean[0]["ids"] == 1200
    with Table(tmp_path / "db") as table:
        assert table.summary().unfinished == ()


def test_a_killed_replacement_leaves_old_or_new(
    tmp_path: Path, clean: list[dict[str, int]]
) -> None:
    with Table(tmp_path / "db") as table:
        table.ingest(tmp_path / "s")
    make_shard(tmp_path / "s", 4, rows=150, dim=64, seed=77)
    with Table(tmp_path / "new") as table:
        table.ingest(tmp_path / "s")
        new = table.sql(_CHECKSUM).to_pylist()
    shutil.copytree(tmp_path / "db", tmp_path / "trial", symlinks=True)
    trial = ["ingest", "s", "--db", "trial", "--replace"]
    steps = count_steps(tmp_path, _SETUP, trial)
    chance = random.Random(4)
    for _ in range(8):
        ingest_and_kill(
            tmp_path, chance.uniform(0, 0.02), "--replace", steps=chance.randrange(steps)
        )
        assert checksum(tmp_path / "db") in (clean, new)
    ingest_and_kill(tmp_path, 60, "--replace")
    assert checksum(tmp_path / "db") == new
