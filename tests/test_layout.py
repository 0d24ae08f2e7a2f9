"""How the rows of a table lie on disk: granules and blocks, as the engine itself reports them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cliphouse.search.methods.hnsw import candidates_of
from conftest import OpenTable, Run
from shard_files import make_shard


def test_rows_lie_in_small_granules_and_text_in_small_blocks(
    tmp_path: Path, open_table: OpenTable
) -> None:
    rows = 1000
    make_shard(tmp_path / "s", rows=rows, dim=16)
    table = open_table()
    table.ingest(tmp_path / "s")
    marks = table.sql(
        "SELECT sum(marks) - count() AS granules FROM system.parts WHERE active "
        "AND database = currentDatabase() AND table = 'laion'"
    )
    assert marks.column("granules").to_pylist() == [-(-rows // 64)]
    made = table.sql("SHOW CREATE TABLE laion").column("statement")[0].as_py()
    assert "max_compress_block_size = 4096" in made
    assert table.summary().granule == 64


def test_info_says_which_layout_a_table_has(
    tmp_path: Path, open_table: OpenTable, run: Run
) -> None:
    make_shard(tmp_path / "s", rows=30, dim=16)
    with open_table() as table:
        table.ingest(tmp_path / "s")
        table.run(
            "CREATE TABLE older (id Int64, image_embedding Array(Float32)) ENGINE = MergeTree "
            "ORDER BY id SETTINGS index_granularity = 512"
        )
        table.run("INSERT INTO older SELECT id, image_embedding FROM laion")
        table.run(
            "CREATE TABLE guides (id Int64, image_embedding Array(Float32)) ENGINE = MergeTree "
            "ORDER BY id"
        )
        table.run("INSERT INTO guides SELECT id, image_embedding FROM laion")
        table.run("CREATE VIEW seen AS SELECT id, image_embedding FROM laion")
    lines = {
        name: next((x for x in run("info", "--table", name).stdout.splitlines() if "gran" in x), "")
        for name in ("laion", "older", "guides", "seen")
    }
    assert lines["laion"].split() == ["granules", "64", "rows"]
    assert "512 rows; a table loaded anew has 64" in lines["older"]
    assert "8,192 rows; a table loaded anew has 64" in lines["guides"]
    assert lines["seen"] == ""


@pytest.mark.parametrize(
    ("quantization", "limit", "candidates"),
    [("bf16", 10, 20), ("bf16", 1000, 1100), ("f32", 10, 20), ("i8", 10, 50), ("b1", 100, 1000)],
)
def test_rougher_graphs_have_more_candidates_compared(
    quantization: str, limit: int, candidates: int
) -> None:
    assert candidates_of(quantization, limit) == candidates
