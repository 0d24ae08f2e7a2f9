"""The columns that a search shows: those that are asked for, and no others are read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import cliphouse
from cliphouse.errors import QueryError
from cliphouse.search.request import Request
from conftest import OpenTable, Run
from shard_files import make_shard

ALL = ["url", "caption", "NSFW", "similarity", "width", "height", "license"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    make_shard(folder / "s", rows=60, dim=16)
    with cliphouse.open(folder / "laion.chdb") as table:
        table.ingest(folder / "s")
    return folder / "laion.chdb"


def test_hits_show_what_is_asked_for(database: Path) -> None:
    with cliphouse.open(database) as table:
        whole = table.search("id:3", k=5)
        assert list(whole[0].values) == ALL
        some = table.search("id:3", k=5, fields=["width", "url"])
        assert [list(hit.values) for hit in some] == [["url", "width"]] * 5
        for hit, full in zip(some, whole, strict=True):
            assert hit.values.items() <= full.values.items()
        assert "caption" not in some.sql
        assert "url, width" in some.sql
        again = table.search("id:3", k=5, fields="width")
        none = table.search("id:3", k=5, fields="")
        assert [hit.id for hit in none] == [hit.id for hit in whole]
        assert [dict(hit.values) for hit in none] == [{}] * 5
        same = table.search("id:3", k=5, fields="id,score,distance,width")
        assert [dict(hit.values) for hit in same] == [dict(hit.values) for hit in again]
        folded = table.search("id:3", k=5, fields="url", dedup=0.999)
        assert [list(hit.values) for hit in folded] == [["url"]] * len(folded)
        with pytest.raises(AttributeError, match="caption"):
            _ = some[0].caption
        # Plans and statements are kept from search to search: each request has its own.
        again = [table.search("id:3", k=k, fields="width", offset=o) for k, o in ((5, 0), (2, 3))]
        assert [hit.id for hit in again[0]] == [hit.id for hit in whole]
        assert [hit.id for hit in again[1]] == [hit.id for hit in whole[3:5]]
        assert table.search("id:3", k=5).hits == whole.hits


def test_a_column_that_hits_do_not_have_is_named(database: Path, run: Run) -> None:
    with cliphouse.open(database) as table:
        for name in ("image_embedding", "nothing"):
            with pytest.raises(QueryError, match=rf"fields: hits have no column {name}; they have"):
                table.search("id:3", fields=["url", name])
    asked = run("search", "id:3", "--columns", "url,nothing", "--db", database)
    assert (asked.returncode, asked.stderr.count("\n")) == (2, 1)
    assert "cliphouse: --columns: hits have no column nothing; they have id, " in asked.stderr
    for sort, told in (("", "it is empty; give"), ("nothing", "hits have no column nothing")):
        asked = run("search", "id:3", "--sort", sort, "--db", database)
        assert (asked.returncode, asked.stderr.count("\n")) == (2, 1)
        assert f"cliphouse: --sort: {told}" in asked.stderr


def test_a_page_may_show_other_columns(database: Path) -> None:
    with cliphouse.open(database) as table:
        first = table.search("id:3", k=5, fields="url")
        second = table.search("id:3", k=5, cursor=first.cursor)
        assert [hit.id for hit in table.search("id:3", k=10)][5:] == [hit.id for hit in second]


def test_the_command_line_writes_these_columns(database: Path, run: Run, tmp_path: Path) -> None:
    drawn = run("search", "id:3", "--db", database, "--columns", "width,license")
    assert drawn.stdout.splitlines()[0].split() == ["score", "id", "width", "license"]
    drawn = run("search", "id:3", "--db", database, "--columns", "score,distance,id")
    assert drawn.stdout.splitlines()[0].split() == ["score", "id", "distance"]
    assert float(drawn.stdout.splitlines()[1].split()[-1]) == pytest.approx(0, abs=1e-6)
    asked = ("search", "id:3", "-k", "4", "--db", database, "--columns", "caption")
    document = json.loads(run(*asked, "--json").stdout)
    assert {tuple(hit) for hit in document["hits"]} == {
        ("id", "score", "distance", "caption", "folded")
    }
    for form in ("csv", "parquet"):
        done = run(*asked, "--format", form, "-o", f"hits.{form}")
        assert done.returncode == 0, done.stderr
    with (tmp_path / "hits.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert (len(rows), list(rows[0])) == (4, ["id", "score", "distance", "caption", "folded"])
    assert pq.read_schema(tmp_path / "hits.parquet").names == list(rows[0])


def test_what_is_drawn_is_all_that_is_read(database: Path, run: Run) -> None:
    drawn = run("search", "id:3", "--db", database, "--show-sql")
    assert "caption" in drawn.stderr
    assert "license" not in drawn.stderr


def test_a_table_that_was_closed_is_opened_again(database: Path) -> None:
    table = cliphouse.open(database)
    first = table.search("id:3")
    table.close()
    assert [hit.id for hit in table.search("id:3")] == [hit.id for hit in first]
    table.close()


def queries(table: cliphouse.Table) -> int:
    """How many queries the engine has begun, this one among them."""
    sql = "SELECT value FROM system.events WHERE event = 'Query'"
    return int(table.connection.query(sql).column("value")[0].as_py())


def test_a_warm_search_is_one_statement(tmp_path: Path, open_table: OpenTable) -> None:
    """By the engine's own count; also with a filter and an index. If this process changes the
    database, also through another Table, the next search reads the table anew."""
    make_shard(tmp_path / "s", rows=400, dim=16)
    table, other = open_table(), open_table()
    table.ingest(tmp_path / "s")
    table.index("image")
    vector = np.ones(16)
    for request in (Request(), Request(mode="hnsw"), Request(mode="hnsw", where="width > 200")):
        table.search_many([vector], request)
        before = queries(table)
        table.search_many([vector], request)
        assert queries(table) - before == 2  # the search, and what counts
    other.run("DELETE FROM laion WHERE id < 100")
    before = queries(table)
    table.search_many([vector])
    assert queries(table) - before > 2
