"""The same work on a server: through HTTP, by several processes at once, with a password.

The server is a stand-in (tests/clickhouse_http.py): the real engine behind ClickHouse's HTTP
interface, in a process of its own.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import cliphouse
from cliphouse.errors import QueryError, TableError
from cliphouse.schema.index_spec import IndexSpec
from conftest import Run
from crash import Victim, changes, loading
from hooked import small_batches
from machines import Load
from shard_files import make_shard
from standin.process import StandIn
from thorough import examples

_CHECKSUM = (
    "SELECT count() AS rows, uniqExact(id) AS ids, sum(cityHash64(id, url, caption, NSFW, "
    "similarity, image_embedding, text_embedding, width, height, license)) AS checksum FROM laion"
)


@pytest.fixture
def clean(tmp_path: Path) -> list[dict[str, int]]:
    """Six shards in tmp_path/s, and the checksum of an embedded table of them."""
    return made_and_loaded(tmp_path, shards=6, rows=100, dim=64)


def made_and_loaded(folder: Path, shards: int, rows: int, dim: int) -> list[dict[str, int]]:
    """Writes shards and loads them into an embedded table, whose checksum is returned."""
    for number in range(shards):
        make_shard(folder / "s", number, rows, dim)
    with cliphouse.open(folder / "embedded") as table:
        table.ingest(folder / "s")
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
    assert measured[0].rows == summary.rows == 600
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 600
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_many_processes_load_into_one_server(
    tmp_path: Path, url: str, clean: list[dict[str, int]]
) -> None:
    """Three load different shards, and two more the same ones at the same time."""
    loads = [Load(tmp_path, url, "--shards", n) for n in ("0-1", "2-3", "4-5", "0-3", "2-5")]
    ended = [load.end() for load in [load.start() for load in loads]]
    assert [end.code for end in ended] == [0] * 5, ended
    with cliphouse.open(url) as table:
        assert table.sql(_CHECKSUM).to_pylist() == clean
        assert table.check(tmp_path / "s").findings == ()


def test_loads_into_a_server_killed_at_any_step_end_as_a_clean_one(
    tmp_path: Path, server: StandIn
) -> None:
    """At each step that changes what a server keeps when the killed is gone, in a database that
    each kill leaves to the next; and at random."""
    clean = made_and_loaded(tmp_path, shards=2, rows=60, dim=16)
    steps = Victim(tmp_path, loading(server.fresh_url())).steps()
    at_each, at_random = server.fresh_url(), server.fresh_url()
    for kind in changes(steps):
        assert Victim(tmp_path, loading(at_each)).kill_at(kind), kind
    chance = random.Random(5)
    for _ in range(examples(1, 6)):
        victim = Victim(tmp_path, loading(at_random))
        victim.kill_after(chance.randint(1, len(steps)), chance.uniform(0, 0.05))
    for url in (at_each, at_random):
        with cliphouse.open(url) as table:
            table.ingest(tmp_path / "s", settings=small_batches(25))
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
