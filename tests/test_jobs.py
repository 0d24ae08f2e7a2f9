"""Loading, syncing and indexing a database that cliphouse serve has open: the service does it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import cliphouse
from cliphouse.errors import CliphouseError, ShardError, TableError, UserError
from cliphouse.pictures.drawn import write_pictures
from conftest import Run
from serving import Drawn
from shard_files import make_shard
from test_serve_cli import Command, ask, serve

SHARDS, ROWS = 15, 60  # that take a while, and tell how far they are


@dataclass(frozen=True)
class Served:
    """A service of a database of its own, laion.chdb in ``folder``."""

    folder: Path
    service: Command

    @property
    def db(self) -> Path:
        return self.folder / "laion.chdb"


@pytest.fixture(scope="module")
def served(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("jobs")
    shutil.copytree(drawn.db, folder / "laion.chdb", symlinks=True)
    for number in range(SHARDS):
        make_shard(folder / "many", number, rows=ROWS)
    with serve(folder, "--db", "laion.chdb") as service:
        yield Served(folder, service)


def _ids(db: Path, table: str = "laion") -> list[int]:
    with cliphouse.open(db, table) as opened:
        return list(opened.sql(f"SELECT id FROM {table} ORDER BY id").column("id").to_pylist())


def _told(*arguments: object) -> str:
    """What a command prints."""
    result = ask(*arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return str(result.stdout)


def test_ingest_sync_and_index_are_done_by_the_service(
    served: Served, drawn: Drawn, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn.folder / "shards", tmp_path / "shards")
    db = ("--db", served.db)
    done = run("ingest", "shards", "--table", "third", *db)  # the service has another folder
    assert (done.returncode, done.stderr) == (0, "")
    assert "60 of 60 rows inserted" in done.stdout
    again = json.loads(_told("ingest", "shards", "--table", "third", "--json", *db))
    assert [load["inserted"] for load in again["loads"]] == [0]
    assert _ids(served.db, "third") == list(range(60))

    write_pictures(tmp_path / "more", 5, seed=9)
    assert "5 new" in _told("sync", "more", "--table", "fourth", "--model", "tiny", *db)
    assert len(_ids(served.db, "fourth")) == 5

    assert "60 rows indexed" in _told("index", "image", "--no-measure", *db)
    assert "hnsw" in _told("recall", "--queries", 30, "--save", *db)
    shown = json.loads(_told("info", "--json", *db))
    assert len(shown["indexes"]) == 1
    assert {entry["mode"] for entry in shown["measured"]} >= {"exact", "hnsw"}
    assert "60 rows indexed" in _told("index", "captions", *db)
    assert _told("index", "image", "--drop", *db) == "image: dropped\n"
    with httpx.Client(base_url=served.service.address) as http:  # its clients see what was done
        assert http.get("/api/info").json()["summary"]["indexes"] == []
        assert http.post("/api/search", json={"words": "a red circle", "k": 3}).is_success


def test_what_a_job_fails_with_is_what_the_command_fails_with(
    served: Served, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    failed = run("ingest", "empty", "--db", served.db)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert re.fullmatch(rf"cliphouse: {tmp_path}/empty: .*\n", failed.stderr), failed.stderr
    for arguments, kind, told in (
        (["ingest", tmp_path / "absent"], ShardError, "absent"),
        (["index", "--table", "none"], TableError, "no table none"),
        (["drop", "--yes", "--wait", "0"], TableError, f"served at {served.service.address}"),
    ):
        result = ask(*arguments, "--db", served.db)
        assert isinstance(result.exception, kind), result
        assert told in str(result.exception)


def test_a_caller_who_leaves_stops_the_job_and_only_one_is_done_at_a_time(served: Served) -> None:
    refused: list[str] = []

    def leave(done: int, total: int) -> None:
        with cliphouse.open(served.db, "many") as other, pytest.raises(UserError) as error:
            other.ingest(served.folder / "many")
        refused.append(str(error.value))
        raise KeyboardInterrupt

    with cliphouse.open(served.db, "many") as table:
        with pytest.raises(KeyboardInterrupt):
            table.ingest(served.folder / "many", progress=leave)
        assert re.search(r"the service is at work: ingest of process \d+, since ", refused[0])
        loaded = _as_soon_as_it_is_free(table, served.folder / "many")
    assert 0 < loaded < SHARDS * ROWS
    expected = [(shard << 32) + row for shard in range(SHARDS) for row in range(ROWS)]
    assert _ids(served.db, "many") == expected


def _as_soon_as_it_is_free(table: cliphouse.Table, shards: Path) -> int:
    """Load again when the job that was left has ended; returns how many rows that inserted."""
    for _ in range(600):
        try:
            return table.ingest(shards).inserted
        except UserError as error:
            assert "the service is at work" in str(error)
            threading.Event().wait(0.05)
    raise AssertionError("the job goes on")


def test_a_service_that_ends_stops_its_job(served: Served) -> None:
    """It is the last of this file: the service has ended then."""

    def stop(done: int, total: int) -> None:
        served.service.process.send_signal(signal.SIGTERM)

    ended = r"the job was stopped|does not answer|ended before the job was done"
    with cliphouse.open(served.db, "last") as table:
        with pytest.raises(CliphouseError, match=ended):
            table.ingest(served.folder / "many", progress=stop)
        served.service.process.communicate(timeout=60)
    with cliphouse.open(served.db, "last") as table:
        assert table.ingest(served.folder / "many").rows == SHARDS * ROWS
    assert len(_ids(served.db, "last")) == SHARDS * ROWS
