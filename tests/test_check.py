"""Check finds what is wrong with shards and tables, and nothing where nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cliphouse.errors import ShardError
from cliphouse.inspection.check import check_shards
from cliphouse.table import Table
from conftest import OpenTable, Run
from shard_files import make_shard


def test_good_shards_are_good(tmp_path: Path) -> None:
    for number in range(3):
        make_shard(tmp_path, number)
    report = check_shards([str(tmp_path)])
    assert (report.shards, report.rows, report.findings) == (3, 60, ())


def test_every_broken_shard_is_named(tmp_path: Path) -> None:
    for number in (0, 1, 2, 3, 4, 7):
        make_shard(tmp_path, number)
    np.save(tmp_path / "img_emb" / "img_emb_1.npy", np.ones((3, 8), "f2"))
    vectors = np.load(tmp_path / "img_emb" / "img_emb_2.npy")
    vectors[5] = np.nan
    np.save(tmp_path / "img_emb" / "img_emb_2.npy", vectors)
    np.save(tmp_path / "text_emb" / "text_emb_3.npy", np.full((20, 8), 2, "f2"))
    twice = pa.table([["a"] * 20, ["b"] * 20], names=["URL", "URL"])
    pq.write_table(twice, tmp_path / "metadata" / "metadata_4.parquet")
    found = {(f.severity, f.where): f.what for f in check_shards([str(tmp_path)]).findings}
    assert "does not line up" in found.pop(("error", "shard 1"))
    assert "row 5 holds NaN" in found.pop(("error", "shard 2"))
    assert "norms 5.657 to 5.657" in found.pop(("note", "shard 3"))
    assert "has the column URL twice" in found.pop(("error", "shard 4"))
    assert found.pop(("note", "shards")) == "missing numbers: 1, 5, 6"
    assert not found


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no shards here"):
        check_shards([str(tmp_path)])


@pytest.fixture
def table(tmp_path: Path, open_table: OpenTable) -> Table:
    for number in range(4):
        make_shard(tmp_path / "s", number)
    opened = open_table()
    opened.ingest(tmp_path / "s")
    return opened


def test_a_good_table_is_good(tmp_path: Path, table: Table) -> None:
    report = table.check(tmp_path / "s")
    assert (report.shards, report.rows, report.findings) == (4, 80, ())


def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, table: Table) -> None:
    table.sql("DELETE FROM laion WHERE id IN (3, 4)")
    table.sql(f"INSERT INTO laion SELECT * FROM laion WHERE id = {2**32 + 5}")
    table.sql(
        f"INSERT INTO laion (id, image_embedding, text_embedding) SELECT {9 * 2**32}, "
        "[1, 2], arrayResize([nan], 8, 0)"
    )
    table.sql("INSERT INTO laion_ledger (shard, state, rows, files) VALUES (7, 'loading', 9, '[]')")
    make_shard(tmp_path / "s", 2, seed=99)
    make_shard(tmp_path / "s", 8)
    told = {(f.where, f.what.split(";")[0]) for f in table.check(tmp_path / "s").findings}
    assert told == {
        ("shard 0", "18 rows, but 20 were loaded"),
        ("shard 1", "1 row with the id of another row"),
        ("shard 2", f"{tmp_path}/s/img_emb/img_emb_2.npy has changed since it was loaded"),
        ("shard 7", "half loaded, 0 of 9 rows"),
        ("shard 8", "is not in the table"),
        ("shard 9", "1 row that the ledger does not know"),
        ("shard 9", "1 vector of another dimension"),
        ("shard 9", "1 vector of NaN or only zeros"),
    }


def test_the_exit_code_tells(tmp_path: Path, run: Run) -> None:
    make_shard(tmp_path / "s", 0)
    assert run("check", "s").returncode == 0
    assert run("ingest", "s").returncode == 0
    good = run("check", "s")
    assert good.returncode == 0
    assert "table: 1 shard, 20 rows, no errors" in good.stdout
    np.save(tmp_path / "s" / "img_emb" / "img_emb_0.npy", np.ones((3, 8), "f2"))
    bad = run("check", "s")
    assert bad.returncode == 1
    assert "error: shard 0: " in bad.stdout
