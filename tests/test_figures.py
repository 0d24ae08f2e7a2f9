"""What is told of a table counts the rows that are there, in words that a person would use."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import cliphouse
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.table import Table
from cliphouse.wording import moment
from conftest import OpenTable, Run
from shard_files import make_shard
from standin_cluster import StandInCluster


def replaced(tmp_path: Path, table: Table) -> None:
    """A table of 82 rows, after 40 of them were replaced: those are in its files still."""
    make_shard(tmp_path / "s", 0, 40, 16)
    make_shard(tmp_path / "s", 1, 42, 16)
    table.ingest(tmp_path / "s")
    make_shard(tmp_path / "s", 0, 40, 16, seed=9)
    table.ingest(tmp_path / "s", replace=True)
    stored = "SELECT sum(rows) AS n FROM system.parts WHERE active AND table = 'laion'"
    assert table.sql(stored).to_pylist() == [{"n": 122}]


def test_rows_that_were_replaced_are_not_counted(
    tmp_path: Path, open_table: OpenTable, run: Run
) -> None:
    with open_table() as table:
        replaced(tmp_path, table)
        assert table.summary().rows == 82
        assert table.forecast(IndexSpec(m=4)).graph.rows == 82
        measured = table.recall(queries=30, save=True)
        assert {entry.rows for entry in measured} == {82}
        assert len(table.search("id:1", k=100, mode="exact")) == 82
        assert table.search("id:1", k=5).stats.mode == "exact"
    told = run("info")
    assert re.search(r"rows +82 in \d parts", told.stdout)
    assert "122" not in told.stdout
    assert "over 82 rows" in run("recall", "--queries", 5).stdout
    indexed = run("index", "both", "--m", 4, "--no-measure")
    assert indexed.returncode == 0, indexed.stderr
    lines = indexed.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["image", "text", "image and text"]
    assert "82 rows x (16 x 2 bytes + M 4 x 8 bytes)" in lines[0]
    assert lines[2].endswith("graphs that it lacks are built")
    again = run("index", "--m", 4)
    assert "then recall is measured" in again.stderr
    assert "recall@100" not in again.stdout
    assert re.search(r"rows +82 in 1 part\s", run("info").stdout)


def test_nodes_count_rows_that_are_there(two_shards: StandInCluster, tmp_path: Path) -> None:
    made = make_shard(tmp_path / "s", 0, 60, 8)
    with cliphouse.open(two_shards.fresh_url()) as table:
        table.ingest(made.folder, cluster="two")
        placement = table.handle.placement
        deletion = f"DELETE FROM {placement.rows}{placement.on} WHERE id < 10"
        placement.run(table.connection, deletion, {"lightweight_deletes_sync": 2})
        summary = table.summary()
        assert summary.rows == 50
        # The one node of the stand-in has all rows, of which it shows those of the first shard.
        assert 0 < sum(node.rows for node in summary.nodes) <= 50


def test_times_are_those_of_the_clock_on_the_wall(
    tmp_path: Path, open_table: OpenTable, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shard(tmp_path / "s")
    with open_table() as table:
        table.ingest(tmp_path / "s")
    told = run("info").stdout
    match = re.search(r"1, loaded ([\d-]+ [\d:]+) (\w+)\s", told)
    assert match, told
    at = datetime.strptime(match[1], "%Y-%m-%d %H:%M").astimezone()
    assert at.tzname() == match[2]
    assert abs(datetime.now().astimezone() - at) < timedelta(minutes=5)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        noon = datetime(2026, 5, 4, 12, 0, 7, tzinfo=timezone.utc)
        assert moment(noon) == "2026-05-04 21:00 JST"
        assert moment(noon, seconds=True) == "2026-05-04 21:00:07 JST"
    finally:
        monkeypatch.undo()
        time.tzset()
