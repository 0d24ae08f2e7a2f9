"""Killed at any step and started again, a load ends in the same table as one clean run."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from cliphouse.table import Table
from crash import Victim, changes, loading
from hooked import small_batches
from shard_files import make_shard
from thorough import examples

SHARDS, ROWS = 2, 75  # three batches a shard
RANDOM_KILLS = examples(2, 20)
Content = list[dict[str, Any]]
_CHECKSUM = (
    "SELECT count() AS rows, uniqExact(id) AS ids, sum(cityHash64(id, url, caption, NSFW, "
    "similarity, image_embedding, text_embedding, width, height, license)) AS checksum FROM laion"
)


def content(folder: Path) -> Content:
    """The rows of a database's table; none where it is not there yet."""
    with Table(folder) as table:
        if "laion" not in table.sql("SHOW TABLES").column("name").to_pylist():
            return [{"rows": 0}]
        return list(table.sql(_CHECKSUM).to_pylist())


@pytest.fixture
def clean(tmp_path: Path) -> Content:
    """Shards in ``tmp_path/s`` and what a table holds that was loaded from them in one run."""
    for number in range(SHARDS):
        make_shard(tmp_path / "s", number, rows=ROWS, dim=16)
    with Table(tmp_path / "clean") as table:
        table.ingest(tmp_path / "s", settings=small_batches(25))
    return content(tmp_path / "clean")


def end_load(db: Path, **options: Any) -> None:
    with Table(db) as table:
        table.ingest(db.parent / "s", settings=small_batches(25), **options)
        assert table.summary().unfinished == ()


def test_a_load_killed_at_any_step_ends_as_a_clean_one(tmp_path: Path, clean: Content) -> None:
    """Each kill finds the database as the one before has left it, and comes further."""
    db, victim = tmp_path / "db", Victim(tmp_path, loading("db"))
    steps = changes(victim.steps())
    assert len(steps) >= 8
    assert content(db) == clean
    shutil.rmtree(db)
    seen = []
    for step in steps:
        assert victim.kill_at(step), step
        seen.append(content(db)[0]["rows"])
    assert seen == sorted(seen)
    assert {0, ROWS, SHARDS * ROWS} <= set(seen)
    end_load(db)
    assert content(db) == clean
    assert clean[0]["rows"] == clean[0]["ids"] == SHARDS * ROWS


def test_a_load_killed_at_random_ends_as_a_clean_one(tmp_path: Path, clean: Content) -> None:
    db, victim = tmp_path / "db", Victim(tmp_path, loading("db"))
    count = len(victim.steps())
    shutil.rmtree(db)
    chance = random.Random(3)
    for _ in range(RANDOM_KILLS):
        if not victim.kill_after(chance.randint(1, count), chance.uniform(0, 0.02)):
            assert content(db) == clean
            shutil.rmtree(db)
    end_load(db)
    assert content(db) == clean


def test_a_replacement_killed_at_any_step_leaves_old_or_new(tmp_path: Path, clean: Content) -> None:
    db, old = tmp_path / "db", tmp_path / "clean"
    shutil.copytree(old, db, symlinks=True)
    make_shard(tmp_path / "s", 1, rows=60, dim=16, seed=77)
    victim = Victim(tmp_path, loading("db", ", replace=True"))
    steps = victim.steps()
    kinds = changes(steps)
    assert {"CREATE", "ALTER", "DELETE", "insert", "EXCHANGE", "DROP"} <= {
        kind.split()[0] for kind in kinds
    }
    new = content(db)
    assert new != clean
    put_back(old, db)
    chance = random.Random(4)
    for _ in range(examples(1, 8)):
        victim.kill_after(chance.randint(1, len(steps)), chance.uniform(0, 0.02))
        assert content(db) in (clean, new)
    put_back(old, db)
    for kind in kinds:
        assert victim.kill_at(kind), kind
        assert content(db) in (clean, new)
    assert content(db) == new
    end_load(db, replace=True)
    with Table(db) as table:
        assert table.sql(_CHECKSUM).to_pylist() == new
        assert table.sql("SHOW TABLES").column("name").to_pylist() == ["laion", "laion_ledger"]


def put_back(old: Path, db: Path) -> None:
    shutil.rmtree(db)
    shutil.copytree(old, db, symlinks=True)
