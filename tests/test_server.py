"""The same work on a server: through HTTP, by several processes at once, with a password.

The server is a stand-in (tests/clickhouse_http.py): the real engine behind ClickHouse's HTTP
interface, in a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import cliphouse
from cliphouse.errors import QueryError, TableError
from cliphouse.schema.index_spec import IndexSpec
from conftest import Run
from shard_files import make_shard

_CHECKSUM = (
    "SELECT count() AS rows, uniqExact(id) AS ids, sum(cityHash64(id, url, caption, NSFW, "
    "similarity, image_embedding, text_embedding, width, height, license)) AS checksum FROM laion"
)
_SMALL_BATCHES = (
    "from cliphouse.shards import reader; reader.BATCH_ROWS = 25; "
    "from cliphouse.cli.app import main; print('ready', flush=True); main()"
)


@pytest.fixture
def clean(tmp_path: Path) -> list[dict[str, int]]:
    """Six shards in tmp_path/s, and the checksum of an embedded table of them."""
    for number in range(6):
        make_shard(tmp_path / "s", number, rows=400, dim=64)
    with cliphouse.open(tmp_path / "embedded") as table:
        table.ingest(tmp_path / "s")
        return list(table.sql(_CHECKSUM).to_pylist())


def test_a_table_on_a_server_is_as_one_embedded(
    tmp_path: Path, url: str, clean: list[dict[str, int]]
) -> None:
    with cliphouse.open(url) as table:
        table.ingest(tmp_path / "s")
        assert table.sql(_CHECKSUM).to_pylist() == clean
        assert table.ingest(tmp_path / "s").inserted == 0
        over_http = table.search("id:7", k=20, where="width > 120")
        table.index(IndexSpec(m=16))
        through_index = table.search("id:7", mode="hnsw", ef=512)
        measured = table.recall(queries=10)
        assert table.check(tmp_path / "s").is_good
        table.export(tmp_path / "out.parquet", "parquet")
        table.export(tmp_path / "out.jsonl", "jsonl", where="id < 3")
        summary = table.summary()
    with cliphouse.open(tmp_path / "embedded") as table:
        embedded = table.search("id:7", k=20, where="width > 120")
        exact = table.search("id:7", k=10)
    assert over_http.hits == embedded.hits
    assert len({h.id for h in through_index} & {h.id for h in exact}) >= 9
    assert measured[0].rows == summary.rows == 2400
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 2400
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_many_processes_load_into_one_server(
    tmp_path: Path, url: str, clean: list[dict[str, int]]
) -> None:
    """Three load different shards, and two more the same ones at the same time."""
    commands = [
        [sys.executable, "-c", _SMALL_BATCHES, "ingest", "s", "--db", url, "--shards", shards]
        for shards in ("0-1", "2-3", "4-5", "0-3", "2-5")
    ]
    processes = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for command in commands
    ]
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert [code for _, code in ended] == [0] * 5, ended
    with cliphouse.open(url) as table:
        assert table.sql(_CHECKSUM).to_pylist() == clean
        assert table.check(tmp_path / "s").findings == ()


def test_killed_loads_into_a_server_end_as_a_clean_one(
    tmp_path: Path, url: str, clean: list[dict[str, int]]
) -> None:
    chance = random.Random(5)
    command = [sys.executable, "-c", _SMALL_BATCHES, "ingest", "s", "--db", url]
    for _ in range(8):
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.communicate(timeout=chance.uniform(0.1, 0.8))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    with cliphouse.open(url) as table:
        table.ingest(tmp_path / "s")
        assert table.sql(_CHECKSUM).to_pylist() == clean


def test_text_and_parameters_arrive_as_they_are(tmp_path: Path, url: str) -> None:
    captions = ['it\'s "q"\t\n\\', "🐈", "x" * 100_000]
    make_shard(tmp_path / "s", rows=3, metadata={"caption": captions})
    with cliphouse.open(url) as table:
        table.ingest(tmp_path / "s")
        found = table.sql("SELECT caption FROM laion ORDER BY id").column("caption").to_pylist()
        assert found == captions
        echoed = table.sql("SELECT {text:String} AS text", {"text": captions[0]})
        assert echoed.column("text").to_pylist() == [captions[0]]
        vector = np.load(tmp_path / "s" / "img_emb" / "img_emb_0.npy")[2].astype("f4")
        assert table.search(vector, k=1)[0].caption == captions[2]


def test_errors_are_one_line_and_show_no_password(tmp_path: Path, url: str, run: Run) -> None:
    with cliphouse.open(url) as table:
        with pytest.raises(TableError, match="no table laion"):
            table.search("id:1")
        with pytest.raises(QueryError, match="`nope`"):
            table.sql("SELECT nope")
    wrong = url.replace("s3cret", "wrong")
    with pytest.raises(TableError, match="name or the password is wrong") as caught:
        cliphouse.open(wrong).search("id:1")
    assert "wrong%2F" not in str(caught.value)
    make_shard(tmp_path / "s")
    loaded = run("ingest", "s", "--db", url)
    with cliphouse.open(url) as table:
        for where, told in (
            ("captoin = 'x'", "where: position 1, at .*no column captoin; did you mean caption"),
            ("similarity > > 3", "where: position 14, at '> 3': this is not SQL$"),
            ("id >= 0) OR (1", "where: position 8, at .*this bracket has no counterpart$"),
            ("width > 'abc'", "where: Cannot convert string 'abc' to type Int32$"),
        ):
            for ask in (table.search, lambda _, where: table.export(tmp_path / "x", "csv", where)):
                with pytest.raises(QueryError, match=told):
                    ask("id:1", where=where)
    told = run("info", "--json", "--db", url)
    assert json.loads(told.stdout)["database"].startswith("http://127.0.0.1:")
    for result in (loaded, told, run("info", "--db", wrong)):
        assert "s3cret" not in result.stdout + result.stderr
