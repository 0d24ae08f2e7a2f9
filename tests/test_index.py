"""The HNSW index: built, really used, measured honestly, and right when it covers only a part."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from cliphouse.errors import QueryError, TableError
from cliphouse.indexing.build import existing_indexes
from cliphouse.recall.questions import turned_aside
from cliphouse.schema.facts import read_facts
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.methods.method import Plan
from cliphouse.search.query.parameter import encode_parameter
from cliphouse.search.request import Request
from cliphouse.search.statement import search_sql
from cliphouse.table import Table
from conftest import OpenTable
from shard_files import MadeShard, make_shard

ROWS, DIM = 1200, 32
# Graphs that are quick to build, for what does not depend on how good they are.
QUICK = IndexSpec("image", m=8, ef_construction=32)
QUICK_TEXT = replace(QUICK, modality="text")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeShard:
    """A shard, and beside it a database that it was loaded into. No test changes them."""
    folder = tmp_path_factory.mktemp("index")
    shard = make_shard(folder / "s", rows=ROWS, dim=DIM)
    with Table(folder / "laion.chdb") as loaded:
        loaded.ingest(shard.folder)
    return shard


@pytest.fixture
def table(made: MadeShard, tmp_path: Path, open_table: OpenTable) -> Table:
    """A copy of the database."""
    database = made.folder.parent / "laion.chdb"
    shutil.copytree(database, tmp_path / database.name, symlinks=True)
    return open_table()


def exact_ids(made: MadeShard, query: np.ndarray, k: int, metric: str = "cosine") -> list[int]:
    rows = made.image.astype(np.float64)
    if metric == "l2":
        distances = np.linalg.norm(rows - query, axis=1)
    else:
        distances = 1 - rows @ query / np.linalg.norm(rows, axis=1)
    return made.ids[np.argsort(distances)[:k]].tolist()


def new_images(made: MadeShard, sampled: list[int]) -> np.ndarray:
    """Rows turned aside as far as the median of the first 30 is from its nearest other row."""
    rows = made.image.astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    nearest = [np.sort(unit @ unit[row])[-2] for row in sampled[:30]]
    return turned_aside(made.image[sampled].astype(np.float32), float(np.median(nearest)))


def test_the_embedded_engine_may_keep_graphs_in_half_of_the_memory(table: Table) -> None:
    """Its own default is 5 GiB, whatever there is."""
    with Path("/proc/meminfo").open() as stream:
        total = 1024 * int(stream.readline().split()[1])
    assert table.forecast(IndexSpec()).graph.cache == total // 2


def explain(table: Table, mode: str, query: np.ndarray) -> str:
    """What EXPLAIN says of the very statement a search runs."""
    plan = Plan("hnsw", 64, None, "") if mode == "hnsw" else Plan("exact", None, None, "")
    facts = read_facts(table.handle)
    sql = search_sql("laion", facts, Request(), plan, 10)
    target = {"target": encode_parameter(query.astype("f4"), "float32")}
    found = table.sql(f"EXPLAIN indexes = 1 {sql}", target)
    return "\n".join(found.column("explain").to_pylist())


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_built_index_is_used_and_finds_the_nearest(
    table: Table, made: MadeShard, metric: str
) -> None:
    built = table.index(IndexSpec("image", metric, m=16, ef_construction=64))  # type: ignore[arg-type]
    assert built.rows == ROWS
    queries = made.image[:20].astype(np.float64) + 0.01
    found = [
        [hit.id for hit in table.search(q, mode="hnsw", ef=200, metric=metric)]  # type: ignore[arg-type]
        for q in queries
    ]
    shares = [
        len(set(ids) & set(exact_ids(made, q, 10, metric))) / 10
        for ids, q in zip(found, queries, strict=True)
    ]
    assert np.mean(shares) > 0.95
    if metric == "cosine":
        assert "image_index" in explain(table, "hnsw", queries[0])
        assert "image_index" not in explain(table, "exact", queries[0])


def test_distances_through_the_index_are_true(table: Table, made: MadeShard) -> None:
    table.index(replace(QUICK, quantization="i8"))
    query = made.image[7].astype(np.float64)
    for hit in table.search(query, mode="hnsw"):
        row = made.image[hit.id].astype(np.float64)
        cosine = row @ query / np.linalg.norm(row) / np.linalg.norm(query)
        assert hit.distance == pytest.approx(1 - cosine, abs=2e-6)


def test_memory_is_announced_within_a_tenth(table: Table) -> None:
    announced = table.index(IndexSpec(m=16)).memory_bytes
    actual = table.summary().indexes[0].memory_bytes
    assert announced == pytest.approx(actual, rel=0.1)


def test_building_twice_is_building_once_and_other_parameters_replace(table: Table) -> None:
    assert table.index(QUICK).seconds > 0
    assert table.index(QUICK).seconds == 0
    assert table.index(IndexSpec(m=4, ef_construction=24, quantization="f16")).seconds > 0
    assert existing_indexes(table.handle) == {
        "image_index": "vector_similarity('hnsw', 'cosineDistance', 32, 'f16', 4, 24)"
    }
    assert table.drop_index()
    assert not table.drop_index()
    with pytest.raises(QueryError, match="no cosine index"):
        table.search("id:0", mode="hnsw")


def test_rows_loaded_later_are_found_too(table: Table, made: MadeShard, tmp_path: Path) -> None:
    table.index(QUICK)
    later = make_shard(tmp_path / "later", 1, rows=50, dim=DIM)
    table.ingest(tmp_path / "later")
    for row in (0, 13, 49):
        found = table.search(later.image[row].astype("f4"), mode="hnsw")
        assert found[0].id == later.ids[row]
        assert found[0].distance == pytest.approx(0, abs=1e-6)
    rebuilt = table.index(QUICK)
    assert (rebuilt.rows, rebuilt.seconds > 0) == (ROWS + 50, True)


def test_indexing_text_keeps_the_image_index(table: Table, tmp_path: Path) -> None:
    table.index(QUICK)
    table.index(QUICK_TEXT)
    make_shard(tmp_path / "later", 1, rows=50, dim=DIM)
    table.ingest(tmp_path / "later")
    table.index(QUICK_TEXT)
    sizes = {index.name: index.memory_bytes for index in table.summary().indexes}
    assert sizes.keys() == {"image_index", "text_index"}
    assert min(sizes.values()) > 0
    assert table.index(QUICK).seconds == 0


def test_a_filter_still_gives_k_rows(table: Table, made: MadeShard) -> None:
    table.index(QUICK)
    found = table.search("id:0", k=10, mode="hnsw", where="id % 120 = 7")
    assert [hit.id % 120 for hit in found] == [7] * 10


@pytest.mark.parametrize("quantization", ["i8", "bf16"])
def test_a_filtered_search_of_a_rounded_graph_finds_the_nearest(
    table: Table, made: MadeShard, quantization: Literal["i8", "bf16"]
) -> None:
    table.index(IndexSpec(quantization=quantization))
    passing = np.flatnonzero(made.ids % 2 == 0)
    rows = made.image[passing].astype(np.float64)
    shares = []
    for query in made.image[:20].astype(np.float64) + 0.01:
        scores = rows @ query / np.linalg.norm(rows, axis=1)
        nearest = made.ids[passing[np.argsort(-scores)[:10]]]
        found = table.search(query, k=10, mode="hnsw", ef=100, where="id % 2 = 0")
        assert (found.stats.mode, found.stats.width) == ("hnsw", pytest.approx(200, rel=0.05))
        shares.append(len({hit.id for hit in found} & set(nearest.tolist())) / 10)
    assert np.mean(shares) > 0.95


def test_deleted_rows_do_not_cost_results(table: Table, made: MadeShard) -> None:
    table.index(QUICK)
    query = made.image[3].astype(np.float64)
    gone = exact_ids(made, query, 5)
    table.sql(f"DELETE FROM laion WHERE id IN ({', '.join(map(str, gone))})")
    for mode in ("auto", "hnsw"):
        found = table.search(query, k=10, mode=mode)  # type: ignore[arg-type]
        assert [hit.id for hit in found] == exact_ids(made, query, 15)[5:]
    rebuilt = table.index(QUICK)
    assert (rebuilt.rows, rebuilt.seconds > 0) == (ROWS - 5, True)
    assert table.search(query, k=10, mode="hnsw").stats.mode == "hnsw"
    assert table.index(QUICK).seconds == 0


def test_without_an_index_there_is_no_recall_to_measure(table: Table) -> None:
    assert {entry.mode for entry in table.recall(queries=5)} == {"exact"}


def test_an_index_of_another_metric_keeps_the_figures(table: Table) -> None:
    table.index(QUICK)
    measured = table.recall(queries=30, save=True)
    table.index(replace(QUICK, metric="l2"))
    table.drop_index("image", "l2")
    assert table.info.measured == measured


def test_a_vector_of_another_length_is_told_before_building(table: Table) -> None:
    table.sql(f"INSERT INTO laion (id, image_embedding) VALUES ({2**40}, [1, 2])")
    with pytest.raises(TableError, match="1 row with a image_embedding of another length than 32"):
        table.index("image")
    table.sql(f"DELETE FROM laion WHERE id = {2**40}")
    assert table.index(QUICK).rows == ROWS


def test_the_owner_s_comment_is_kept(table: Table) -> None:
    table.sql("ALTER TABLE laion MODIFY COMMENT 'mine'")
    table.recall(queries=3)
    with pytest.raises(TableError, match="laion has a comment of its own, where the figures"):
        table.recall(queries=30, save=True)
    assert table.sql("SHOW CREATE TABLE laion").column("statement")[0].as_py().endswith("'mine'")


def test_recall_is_what_numpy_says(tmp_path: Path, open_table: OpenTable) -> None:
    """Of few rows, since a graph of bits is measured until it is as wide as the table."""
    made = make_shard(tmp_path / "s", rows=400, dim=DIM)
    table = open_table()
    table.ingest(made.folder)
    table.index(IndexSpec(m=4, ef_construction=8, quantization="b1"))
    measured = table.recall("image", k=10, queries=30, save=True)
    for entry in measured:
        assert (entry.rows, entry.queries, entry.k) == (400, 30, 10)
    by_way = {(e.query, e.mode, e.width): e.recall for e in measured}
    assert by_way["text", "exact", 0] == by_way["image", "exact", 0] == 1
    hashed = table.sql("SELECT id FROM laion ORDER BY sipHash64(id) LIMIT 30")
    sampled = hashed.column("id").to_pylist()
    assert made.text is not None
    for kind, questions in (("text", made.text[sampled]), ("image", new_images(made, sampled))):
        shares = []
        for row, question in zip(sampled, questions, strict=True):
            own = row if kind == "text" else None
            wanted = [i for i in exact_ids(made, question, 11) if i != own][:10]
            hits = table.search(question, k=11, mode="hnsw", ef=64)
            found = [hit.id for hit in hits if hit.id != own][:10]
            shares.append(len(set(found) & set(wanted)) / 10)
        assert by_way[kind, "hnsw", 64] == pytest.approx(np.mean(shares), abs=0.01)
    assert by_way["text", "hnsw", 64] < 0.9, "one bit a number cannot be this good"
    assert table.info.measured == measured


def test_a_search_tells_the_measured_recall(table: Table) -> None:
    table.index(QUICK)
    measured = table.recall("image", queries=30, save=True)
    recall = next(e.recall for e in measured if (e.query, e.width) == ("image", 64))
    assert table.search("id:4", mode="hnsw", ef=64).stats.recall == recall
    assert table.search("id:4", mode="hnsw", ef=99).stats.recall is None
    table.index(replace(QUICK, m=4))
    assert table.info.measured == ()


def test_an_interrupted_build_leaves_nothing_running_and_goes_on(
    table: Table, tmp_path: Path, made: MadeShard
) -> None:
    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    # So many that the engine is far from the end of the build when it is interrupted.
    make_shard(tmp_path / "more", 1, rows=6000, dim=DIM)
    table.ingest(tmp_path / "more")
    slow = IndexSpec(m=64, ef_construction=500)
    with pytest.raises(KeyboardInterrupt):
        table.index(slow, interrupt)
    pending = table.sql("SELECT count() AS n FROM system.mutations WHERE NOT is_done")
    assert pending.column("n").to_pylist() == [0]
    query = made.image[5].astype(np.float64)
    with pytest.raises(QueryError, match="the cosine index on image_embedding has no graph: build"):
        table.search(query, mode="hnsw")
    assert table.search(query).stats.mode == "exact"
    assert table.index(slow).seconds > 0
    assert table.summary().indexes[0].memory_bytes > 0
    assert table.search(query, mode="hnsw").stats.mode == "hnsw"


def test_a_graph_that_does_not_fit_is_refused_with_the_sum(table: Table) -> None:
    expected = table.forecast(IndexSpec(m=16)).graph
    assert (expected.rows, expected.dim, expected.memory) == (ROWS, DIM, ROWS * (DIM * 2 + 16 * 8))
    assert expected.available is not None
    assert expected.available > 10**8
    expected.check()
    small = replace(expected, rows=10**9, memory=192 * 10**9)
    with pytest.raises(
        TableError,
        match=r"1,000,000,000 rows x \(32 x 2 bytes \+ M 16 x 8 bytes\) = 192.0 GB, and "
        r"[\d.]+ [MG]B are free; .* or --force",
    ):
        small.check()


def test_what_cannot_be_indexed_is_named(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", with_text=False)
    table = open_table()
    table.ingest(tmp_path / "s")
    with pytest.raises(TableError, match="laion has no text_embedding to index"):
        table.index("text")
    with pytest.raises(QueryError, match="M must be 2 to 1024"):
        table.index(IndexSpec(m=1))
    table.sql("TRUNCATE TABLE laion")
    with pytest.raises(TableError, match="laion is empty"):
        table.index("image")
