"""Check finds what is wrong with shards and tables, and nothing where nothing is."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cliphouse.errors import EngineError, ShardError
from cliphouse.inspection.check import check_shards
from cliphouse.table import Table
from cliphouse.vocabulary import Precision
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
    assert found.pop(("error", "shard 1")).startswith("does not line up: ")
    assert "row 5 holds NaN" in found.pop(("error", "shard 2"))
    assert "norms 5.657, not 1; " in found.pop(("note", "shard 3"))
    assert "has the column URL twice" in found.pop(("error", "shard 4"))
    assert found.pop(("note", "shards")) == "missing numbers: 1, 5, 6"
    assert not found


def damage(path: Path, column: int, at: int = 60, count: int = 200) -> None:
    """Change bytes of the column's first page."""
    start = pq.read_metadata(path).row_group(0).column(column).data_page_offset + at
    with path.open("r+b") as file:
        file.seek(start)
        page = file.read(count)
        file.seek(start)
        file.write(bytes(byte ^ 0xA5 for byte in page))


def test_a_damaged_page_of_metadata_is_named(tmp_path: Path) -> None:
    metadata = {"url": ["u"] * 500, "other": [1] * 500, "caption": [f"a {n}" for n in range(500)]}
    for number in range(3):
        make_shard(tmp_path, number, rows=500, metadata=metadata)
    path = tmp_path / "metadata" / "metadata_1.parquet"
    pq.write_table(pa.table(metadata), path, use_dictionary=False)
    damage(path, 2)
    # One of those bytes, in the middle of a text, shows by a checksum alone.
    path = tmp_path / "metadata" / "metadata_2.parquet"
    plain = {"use_dictionary": False, "compression": "none", "write_page_checksum": True}
    pq.write_table(pa.table(metadata), path, **plain)
    damage(path, 0, 100, 1)
    report = check_shards([str(tmp_path)])
    assert [(f.severity, f.where) for f in report.findings] == [
        ("error", "shard 1"),
        ("error", "shard 2"),
    ]
    assert "metadata_1.parquet: column caption is damaged: " in report.findings[0].what
    assert "metadata_2.parquet: column url is damaged: " in report.findings[1].what


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
    assert 4 * 16 <= report.compared <= 4 * 20


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


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_rows_are_compared_with_their_files(
    tmp_path: Path, open_table: OpenTable, precision: Precision
) -> None:
    own: dict[str, Any] = {
        "caption": ["", "\udcff", None, "d", "e"],
        "taken": pa.array([1, None, 3, 4, 5], pa.timestamp("ns")),
        "tags": [["a", None], [], None, ["b"], []],
        "price": pa.array([Decimal("1.5"), None, Decimal(2), Decimal(3), Decimal(4)]),
        "exif": [{"a": 1.5}, None, {"a": 2.5}, {"a": 3.5}, {"a": None}],
        "good": [True, None, False, True, False],
        "score2": [0.1, float("nan"), None, 1e300, -0.0],
        "at": pa.array([1, 2, None, 4, 5], pa.time64("us")),
    }
    texts = [None if t is None else t.encode("utf-8", "surrogateescape") for t in own["caption"]]
    own["caption"] = pa.array(texts, pa.binary()).view(pa.string())
    make_shard(tmp_path / "s", 3, rows=5, metadata=own)
    table = open_table()
    table.ingest(tmp_path / "s", precision=precision)
    good = table.check(tmp_path / "s")
    assert (good.findings, good.compared) == ((), 5)
    changes = {
        "caption": "'x'",
        "tags": "[NULL]",
        "price": "1.25",
        "score2": "0.1000001",
        "taken": "addMicroseconds(taken, 1)",
        "exif": "'{}'",
        "similarity": "similarity + 0.001",
        "image_embedding": "arrayMap((x, n) -> n = 8 ? x + 0.01 : x, image_embedding, "
        "arrayEnumerate(image_embedding))",
    }
    changed = ", ".join(f"{name} = {value}" for name, value in changes.items())
    table.sql(
        f"ALTER TABLE laion UPDATE {changed} WHERE id = {3 * 2**32} SETTINGS mutations_sync = 2"
    )
    told = {(f.where, f.what) for f in table.check(tmp_path / "s").findings}
    again = "is not what the files hold; load the shard again with ingest --replace"
    assert told == {("shard 3, row 0", f"column {name} {again}") for name in changes}


def test_a_damaged_part_is_named_and_the_rest_is_checked(
    tmp_path: Path, table: Table, open_table: OpenTable, run: Run
) -> None:
    held = table.sql("SELECT DISTINCT _part AS part, bitShiftRight(id, 32) AS shard FROM laion")
    shards = {row["part"]: row["shard"] for row in held.to_pylist()}
    assert len(shards) == 4
    table.close()
    file = next((tmp_path / "laion.chdb" / "store").rglob("image_embedding.bin"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xA5
    file.write_bytes(data)
    part, shard = file.parent.name, shards[file.parent.name]
    remedy = f"restore an earlier backup, or remove the part (ALTER TABLE laion DROP PART '{part}')"
    told = run("check", "s")
    assert told.returncode == 1
    good, named, rows, table_line = told.stdout.splitlines()
    assert good == "shards: 4 shards, 80 rows, no errors"
    assert named.startswith(f"error: laion: part {part} is damaged (Checksum doesn't match); ")
    assert f"{remedy} and load its rows again with ingest --replace" in named
    assert rows == f"error: shard {shard}: 0 of 20 rows are in parts without damage"
    assert table_line.startswith("table: 3 shards, 60 rows, has errors; ")
    opened = open_table()
    with pytest.raises(EngineError) as met:
        opened.sql("SELECT sum(L2Norm(image_embedding)) FROM laion")
    where = f"part {part} of table laion is damaged (image_embedding.bin: Checksum doesn't match)"
    assert str(met.value).endswith(
        f"laion.chdb: {where}; cliphouse check names all of the damage, and what to do about it"
    )
    opened.sql(f"ALTER TABLE laion DROP PART '{part}'")
    opened.ingest(tmp_path / "s", replace=True)
    assert opened.check(tmp_path / "s").findings == ()


def test_a_damaged_ledger_and_parts_that_are_gone_are_named(
    tmp_path: Path, table: Table, open_table: OpenTable
) -> None:
    table.close()
    store = tmp_path / "laion.chdb" / "store"
    gone = next(store.rglob("image_embedding.bin"))
    gone.unlink()
    for ledger in store.rglob("data.bin"):
        data = bytearray(ledger.read_bytes())
        data[len(data) // 2] ^= 0xA5
        ledger.write_bytes(data)
    report = open_table().check(tmp_path / "s")
    findings = {finding.where: finding.what for finding in report.findings}
    assert findings.keys() == {"laion", "laion_ledger"}
    assert report.rows == 60
    aside = f"part broken-on-start_{gone.parent.name} is damaged (the engine could not open it"
    assert findings["laion"].startswith(aside)
    assert re.match(r"part all_\d+_\d+_\d+ is damaged \(Checksum", findings["laion_ledger"])


def test_the_exit_code_tells(tmp_path: Path, run: Run) -> None:
    make_shard(tmp_path / "s", 0)
    assert run("check", "s").returncode == 0
    assert run("ingest", "s").returncode == 0
    good = run("check", "s")
    assert good.returncode == 0
    assert "table: 1 shard, 20 rows, no errors; " in good.stdout
    assert "rows compared with the files" in good.stdout
    np.save(tmp_path / "s" / "img_emb" / "img_emb_0.npy", np.ones((3, 8), "f2"))
    bad = run("check", "s")
    assert bad.returncode == 1
    assert "error: shard 0: " in bad.stdout
