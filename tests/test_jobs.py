"""Loading, syncing and indexing a database that cliphouse serve has open: the service does it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import cliphouse
from cliphouse.errors import CliphouseError, UserError
from cliphouse.pictures.drawn import write_pictures
from conftest import Run
from serving import Drawn
from shard_files import make_shard
from test_serve_cli import Command, ask, serve


@pytest.fixture
def served(drawn: Drawn, tmp_path: Path) -> Iterator[Command]:
    """A service of a database of its own, in ``tmp_path`` as laion.chdb."""
    shutil.copytree(drawn.db, tmp_path / "laion.chdb", symlinks=True)
    with serve(tmp_path, "--db", "laion.chdb") as service:
        yield service


def _ids(db: Path, table: str = "laion") -> list[int]:
    with cliphouse.open(db, table) as opened:
        return list(opened.sql(f"SELECT id FROM {table} ORDER BY id").column("id").to_pylist())


def test_ingest_sync_and_index_are_done_by_the_service(
    served: Command, drawn: Drawn, run: Run, tmp_path: Path
) -> None:
    shutil.copytree(drawn.folder / "shards", tmp_path / "shards")
    done = run("ingest", "shards", "--table", "third")  # a relative path, of another folder
    assert (done.returncode, done.stderr) == (0, "")
    assert "60 of 60 rows inserted" in done.stdout
    again = json.loads(run("ingest", "shards", "--table", "third", "--json").stdout)
    assert [load["inserted"] for load in again["loads"]] == [0]
    assert _ids(tmp_path / "laion.chdb", "third") == list(range(60))

    write_pictures(tmp_path / "more", 5, seed=9)
    synced = run("sync", "more", "--table", "fourth", "--model", "tiny")
    assert (synced.returncode, synced.stderr) == (0, "")
    assert "5 new" in synced.stdout
    assert len(_ids(tmp_path / "laion.chdb", "fourth")) == 5

    built = run("index", "image")
    assert built.returncode == 0, built.stderr
    assert "60 rows indexed" in built.stdout
    assert "recall measured in" in built.stdout
    shown = json.loads(ask("info", "--json", "--db", tmp_path / "laion.chdb").stdout)
    assert len(shown["indexes"]) == 1
    assert {entry["mode"] for entry in shown["measured"]} >= {"exact", "hnsw"}
    captions = run("index", "captions")
    assert "60 rows indexed" in captions.stdout, captions.stderr
    dropped = run("index", "image", "--drop")
    assert dropped.stdout == "image: dropped\n"
    with httpx.Client(base_url=served.address) as http:  # its clients see what was done
        assert http.get("/api/info").json()["summary"]["indexes"] == []
        assert http.post("/api/search", json={"words": "a red circle", "k": 3}).is_success


def test_what_a_job_fails_with_is_what_the_command_fails_with(
    served: Command, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, told in (
        (["ingest", "empty"], rf"{tmp_path}/empty: "),
        (["ingest", "absent"], "absent: "),
        (["index", "--table", "none"], "none"),
    ):
        failed = run(*arguments)
        assert (failed.returncode, failed.stdout) == (2, "")
        assert re.fullmatch(rf"cliphouse: .*{told}.*\n", failed.stderr), failed.stderr
    dropped = run("drop", "--yes", "--wait", "0")
    assert dropped.returncode == 2
    assert f"served at {served.address}" in dropped.stderr


def test_a_caller_who_leaves_stops_the_job_and_only_one_is_done_at_a_time(
    served: Command, tmp_path: Path
) -> None:
    db, shards = tmp_path / "laion.chdb", tmp_path / "many"
    for number in range(24):
        make_shard(shards, number, rows=1500, seed=number)
    refused: list[str] = []

    def leave(done: int, total: int) -> None:
        with cliphouse.open(db, "many") as other, pytest.raises(UserError) as error:
            other.ingest(shards)
        refused.append(str(error.value))
        raise KeyboardInterrupt

    with cliphouse.open(db, "many") as table:
        with pytest.raises(KeyboardInterrupt):
            table.ingest(shards, progress=leave)
        assert re.search(r"the service is at work: ingest of process \d+, since ", refused[0])
        loaded = _as_soon_as_it_is_free(table, shards)
    assert 0 < loaded < 36_000
    expected = [(shard << 32) + row for shard in range(24) for row in range(1500)]
    assert _ids(db, "many") == expected


def _as_soon_as_it_is_free(table: cliphouse.Table, shards: Path) -> int:
    """Load again when the job that was left has ended; returns how many rows that inserted."""
    for _ in range(200):
        try:
            return table.ingest(shards).inserted
        except UserError as error:
            assert "the service is at work" in str(error)
            threading.Event().wait(0.05)
    raise AssertionError("the job goes on")


def test_a_service_that_ends_stops_its_job(served: Command, tmp_path: Path) -> None:
    db, shards = tmp_path / "laion.chdb", tmp_path / "many"
    for number in range(24):
        make_shard(shards, number, rows=1500, seed=number)

    def stop(done: int, total: int) -> None:
        served.process.send_signal(signal.SIGTERM)

    with cliphouse.open(db, "many") as table:
        with pytest.raises(
            CliphouseError, match=r"the job was stopped|does not answer|ended before"
        ):
            table.ingest(shards, progress=stop)
        served.process.communicate(timeout=60)
    with cliphouse.open(db, "many") as table:
        assert table.ingest(shards).rows == 36_000
    assert len(_ids(db, "many")) == 36_000
