"""A table is dropped with all that belongs to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cliphouse.errors import TableError
from conftest import OpenTable, Run
from shard_files import make_shard
from standin_cluster import StandInCluster


def test_a_dropped_table_can_be_loaded_again(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", rows=30, dim=16)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.index()
    assert table.drop().rows == 30
    assert table.sql("SHOW TABLES").num_rows == 0
    with pytest.raises(TableError, match="no table laion"):
        table.drop()
    assert table.ingest(tmp_path / "s").inserted == 30


def test_on_a_server_and_on_a_cluster(
    tmp_path: Path, url: str, two_shards: StandInCluster, open_table: OpenTable
) -> None:
    make_shard(tmp_path / "s", rows=30, dim=16)
    for address, cluster in ((url, None), (two_shards.fresh_url(), "two")):
        table = open_table(address)
        table.ingest(tmp_path / "s", cluster=cluster)
        assert table.drop().rows == 30
        assert table.sql("SHOW TABLES").num_rows == 0


def test_the_command_asks(tmp_path: Path, run: Run) -> None:
    make_shard(tmp_path / "s", rows=30, dim=16)
    run("ingest", "s")
    asked = run("drop")
    assert asked.returncode == 1
    assert "drop table laion of laion.chdb with 30 rows?" in asked.stderr
    assert run("drop", "--yes").stdout == "dropped table laion with 30 rows\n"
    assert run("drop", "--yes").returncode == 2
