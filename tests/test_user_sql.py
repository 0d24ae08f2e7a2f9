"""A user's own SQL through an index gives the rows that NumPy gives, whatever was deleted."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cliphouse
from cliphouse.errors import QueryError
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.table import Table
from conftest import OpenTable, Run
from shard_files import MadeShard, make_shard
from standin.process import StandIn
from standin.users import BOUND, READER, SEARCHER
from standin_cluster import StandInCluster

DIM, ROWS = 32, 1500
BY = "ORDER BY cosineDistance(image_embedding, {q:Array(Float32)}) LIMIT"
POST = "SETTINGS vector_search_filter_strategy = 'postfilter'"
WITH_INDEX = "SETTINGS query_plan_try_use_vector_search = 1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeShard:
    return make_shard(tmp_path_factory.mktemp("made") / "s", 0, ROWS, DIM)


@pytest.fixture(scope="module")
def indexed(made: MadeShard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with an index, to be copied."""
    folder = tmp_path_factory.mktemp("indexed") / "laion.chdb"
    with Table(folder) as table:
        table.ingest(made.folder)
        table.index(IndexSpec(m=16))
    return folder


@pytest.fixture
def table(indexed: Path, tmp_path: Path, open_table: OpenTable) -> Table:
    shutil.copytree(indexed, tmp_path / "laion.chdb", symlinks=True)
    return open_table()


def a_query() -> list[float]:
    numbers: list[float] = np.random.default_rng(1).standard_normal(DIM).astype("f4").tolist()
    return numbers


def nearest(made: MadeShard) -> list[int]:
    """All rows, the nearest first, as NumPy has them."""
    image, query = made.image.astype("f8"), np.array(a_query())
    order: list[int] = np.argsort(-(image @ query) / np.linalg.norm(image, axis=1)).tolist()
    return order


def ids(table: Table, statement: str) -> list[int]:
    found: list[int] = table.sql(statement, {"q": a_query()}).column("id").to_pylist()
    return found


def test_a_filter_costs_no_rows(table: Table, made: MadeShard) -> None:
    expected = [row for row in nearest(made) if row % 50 == 3][:10]
    filtered = f"SELECT id FROM laion WHERE id % 50 = 3 {BY} 10"
    assert ids(table, filtered) == expected
    assert ids(table, f"SELECT id FROM laion PREWHERE id % 50 = 3 {BY} 10") == expected
    assert ids(table, f"SELECT * FROM ({filtered})") == expected
    assert ids(table, f"WITH near AS ({filtered}) SELECT id FROM near") == expected
    raw = table.run(f"{filtered} FORMAT TSV", {"q": a_query()})
    assert list(map(int, raw.written.split())) == expected
    table.sql("CREATE TABLE kept (id Int64) ENGINE = MergeTree ORDER BY tuple()")
    table.sql(f"INSERT INTO kept {filtered}", {"q": a_query()})
    assert set(ids(table, "SELECT id FROM kept")) == set(expected)
    listed = str(a_query())
    table.sql(f"CREATE VIEW near AS {filtered.replace('{q:Array(Float32)}', listed)}")
    assert ids(table, "SELECT id FROM near") == expected
    # Without a filter the index is used, as it is without cliphouse.
    (line,) = (
        row
        for row in table.sql(f"EXPLAIN indexes = 1 SELECT id FROM laion {BY} 5", {"q": a_query()})
        .column(0)
        .to_pylist()
        if "vector_similarity" in row
    )
    assert line


def test_deleted_rows_cost_no_others(table: Table, made: MadeShard) -> None:
    order = nearest(made)
    table.sql(f"DELETE FROM laion WHERE id IN {tuple(order[:30])}")
    search = f"SELECT id FROM laion {BY} 10"
    assert ids(table, search) == order[30:40]
    assert (
        ids(table, f"SELECT id FROM laion WHERE id % 2 = 0 {BY} 5")
        == [row for row in order[30:] if row % 2 == 0][:5]
    )
    answer = table.run(search, {"q": a_query()})
    assert answer.warning is None
    assert answer.hint == (
        "rows of laion were deleted, which the index still finds: all rows were compared instead. "
        f"cliphouse check --repair --db {table.address.shown} removes them for good"
    )
    assert table.run("SELECT shard FROM laion_ledger ORDER BY L2Distance([1], [2])").hint is None
    # The distance may be in a view, and in one that reads another.
    table.sql(f"CREATE VIEW near AS {search.replace('{q:Array(Float32)}', str(a_query()))}")
    table.sql("CREATE VIEW nearer AS SELECT id FROM near")
    assert ids(table, "SELECT id FROM nearer") == order[30:40]
    assert table.run("SELECT id FROM near").hint == answer.hint


def test_the_users_own_settings_win_and_the_line_is_true(table: Table, made: MadeShard) -> None:
    order = nearest(made)
    filtered = f"SELECT id FROM laion WHERE id % 50 = 3 {BY} 10"
    with pytest.warns(UserWarning, match="rows may be missing: the index was used, and the filter"):
        assert len(ids(table, f"{filtered} {POST}")) < 10
    table.sql("SET vector_search_filter_strategy = 'postfilter'")
    with pytest.warns(UserWarning, match="'prefilter'"):
        assert len(ids(table, filtered)) < 10
    with warnings.catch_warnings():  # none of these has both an index and a filter
        warnings.simplefilter("error")
        assert ids(table, f"SELECT id FROM laion {BY} 3") == order[:3]
        assert (
            ids(table, f"{filtered.replace('LIMIT', ', id LIMIT')}")
            == [row for row in order if row % 50 == 3][:10]
        )
    table.sql(f"DELETE FROM laion WHERE id IN {tuple(order[:30])}")
    with pytest.warns(UserWarning, match="rows may be missing: the index was used, and rows of"):
        assert ids(table, f"SELECT id FROM laion {BY} 10 {WITH_INDEX}") != order[30:40]


def test_the_command_line_says_it_in_one_line(table: Table, run: Run, made: MadeShard) -> None:
    table.sql(f"DELETE FROM laion WHERE id IN {tuple(nearest(made)[:30])}")
    table.close()
    listed = ",".join(map(repr, a_query()))
    given = ("--param", f"q=[{listed}]", "--format", "csv")
    told = run("sql", f"SELECT id FROM laion {BY} 10", *given)
    assert len(told.stdout.split()) == 11
    assert told.stderr.splitlines()[0].startswith("rows of laion were deleted, which the index")
    told = run("sql", f"SELECT id FROM laion {BY} 10 {WITH_INDEX}", *given)
    assert len(told.stdout.split()) < 11
    assert told.stderr.splitlines()[0].startswith("rows may be missing: ")
    noted = run("check")
    assert "note: laion: 30 rows are marked as deleted" in noted.stdout
    assert "cliphouse check --repair" in noted.stdout
    mended = run("check", "--repair")
    assert "marked as deleted" not in mended.stdout.partition("table: ")[0].replace("removed", "")
    told = run("sql", f"SELECT id FROM laion {BY} 10", *given)
    assert len(told.stdout.split()) == 11
    assert "deleted" not in told.stderr


def test_a_statement_that_would_end_this_process_is_refused(table: Table) -> None:
    for statement in ("SYSTEM SHUTDOWN", "system /* now */ kill"):
        with pytest.raises(QueryError, match="would end this process"):
            table.sql(statement)
    assert table.sql("SELECT count() AS n FROM laion")["n"].to_pylist() == [ROWS]


def test_a_table_of_another_database_is_another(server: StandIn, made: MadeShard) -> None:
    first, second = server.fresh(), server.fresh()
    for name in (first, second):
        with cliphouse.open(server.url(name)) as table:
            table.ingest(made.folder)
            table.index(IndexSpec(m=16))
    near = f"SELECT id FROM laion {BY} 10"
    with cliphouse.open(server.url(first)) as table, cliphouse.open(server.url(second)) as other:
        table.sql("DELETE FROM laion WHERE id < 5")
        assert table.run(near, {"q": a_query()}).hint is not None
        assert other.run(near, {"q": a_query()}).hint is None
        from_afar = near.replace("FROM laion", f"FROM {first}.laion")
        assert other.run(from_afar, {"q": a_query()}).hint is not None


def test_on_a_server_too(server: StandIn, made: MadeShard) -> None:
    name = server.fresh()
    order = nearest(made)
    filtered = f"SELECT id FROM laion WHERE id % 50 = 3 {BY} 10"
    expected = [row for row in order if row % 50 == 3][:10]
    with cliphouse.open(server.url(name)) as owner:
        owner.ingest(made.folder)
        owner.index(IndexSpec(m=16))
        assert ids(owner, filtered) == expected
        owner.sql("SET vector_search_filter_strategy = 'postfilter'")
        with pytest.warns(UserWarning, match="rows may be missing"):
            ids(owner, filtered)
        owner.sql(f"DELETE FROM laion WHERE id IN {tuple(order[:30])}")
        assert ids(owner, f"SELECT id FROM laion {BY} 10") == order[30:40]
        sorting = BY.replace("{q:Array(Float32)}", str(a_query()))
        owner.sql(f"CREATE VIEW near AS SELECT id FROM laion {sorting} 10")
        assert ids(owner, "SELECT id FROM near") == order[30:40]
    rest: dict[str, Any] = {"id % 50 = 3": [row for row in order[30:] if row % 50 == 3][:10]}
    with cliphouse.open(server.url(name, SEARCHER)) as table:
        assert ids(table, f"SELECT id FROM laion {BY} 10") == order[30:40]
        assert ids(table, filtered) == rest["id % 50 = 3"]
    # Who may not turn the index off, and who may set nothing.
    for user, statement in ((BOUND, f"SELECT id FROM laion {BY} 10"), (READER, filtered)):
        with cliphouse.open(server.url(name, user)) as table:
            with pytest.warns(UserWarning, match="rows may be missing"):
                ids(table, statement)
            exact = statement.replace(" LIMIT", ", id LIMIT")
            passing = [row for row in order[30:] if user is BOUND or row % 50 == 3]
            assert ids(table, exact) == passing[:10]


def test_on_a_cluster_too(two_shards: StandInCluster, made: MadeShard) -> None:
    order = nearest(made)
    with cliphouse.open(two_shards.fresh_url()) as table:
        table.ingest(made.folder, cluster="two")
        table.index(IndexSpec(m=4))
        passing = [row for row in order if row % 50 == 3]
        assert ids(table, f"SELECT id FROM laion WHERE id % 50 = 3 {BY} 10") == passing[:10]
        placement = table.handle.placement
        deletion = f"DELETE FROM {placement.rows}{placement.on} WHERE id IN {tuple(order[:30])}"
        placement.run(table.connection, deletion, {"lightweight_deletes_sync": 2})
        assert ids(table, f"SELECT id FROM laion {BY} 10") == order[30:40]
        answer = table.run(f"SELECT id FROM laion {BY} 10", {"q": a_query()})
        assert answer.hint is not None
        assert "rows of laion were deleted" in answer.hint
