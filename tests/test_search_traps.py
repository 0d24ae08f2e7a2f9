"""Tables and questions of which a search must not make something wrong without a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cliphouse.cluster.placement import Placement
from cliphouse.errors import QueryError, TableError
from cliphouse.indexing.build import existing_indexes
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.filter import Filter
from cliphouse.table import Table
from conftest import OpenTable
from shard_files import make_shard

DIM = 64
ROWS = 2000


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard in ``s`` and a database of it, to be copied."""
    folder = tmp_path_factory.mktemp("loaded")
    make_shard(folder / "s", 0, ROWS, DIM)
    with Table(folder / "laion.chdb") as table:
        table.ingest(folder / "s")
    return folder


@pytest.fixture
def table(loaded: Path, tmp_path: Path, open_table: OpenTable) -> Table:
    shutil.copytree(loaded, tmp_path, symlinks=True, dirs_exist_ok=True)
    return open_table()


def a_query(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)


def stored(table: Table, name: str = "laion") -> np.ndarray:
    found = table.sql(f"SELECT image_embedding AS v FROM {name} ORDER BY id, url")
    return np.array(found.column("v").to_pylist(), np.float64)


def test_pages_of_a_poor_graph_are_full_to_the_end(table: Table) -> None:
    table.index(IndexSpec(m=4, ef_construction=8))
    seen: list[int] = []
    cursor = None
    while True:
        page = table.search(a_query(), 100, mode="hnsw", ef=100, cursor=cursor)
        seen += [hit.id for hit in page]
        if page.cursor is None:
            break
        assert len(page) == 100
        cursor = page.cursor
    assert len(set(seen)) == len(seen)
    # What a page passed over, and a later and deeper search finds, lies before its cursor.
    assert len(seen) > 0.75 * ROWS


def test_a_cursor_belongs_to_its_search(table: Table) -> None:
    cursor = table.search(a_query(), 5).cursor
    other: list[dict[str, Any]] = [
        {"metric": "l2"},
        {"modality": "text"},
        {"where": "id > 3"},
        {"filter": Filter(min_width=1)},
        {"dedup": 0.9},
    ]
    for options in other:
        with pytest.raises(QueryError, match="the cursor is of a search with another filter"):
            table.search(a_query(), 5, cursor=cursor, **options)
    assert len(table.search(a_query(), 7, cursor=cursor)) == 7
    with pytest.raises(QueryError, match="the cursor is none of this search's"):
        table.search(a_query(), 5, cursor="WzAsIEluZmluaXR5LCAxLCAiIl0")  # [0, Infinity, 1, ""]


def test_a_graph_that_a_merge_has_cost_is_not_claimed(table: Table, tmp_path: Path) -> None:
    quick = IndexSpec("image", m=8, ef_construction=32)
    table.index(quick)
    table.recall("image", k=10, queries=30, save=True, quick=True)
    make_shard(tmp_path / "more", 1, 100, DIM)
    table.ingest(tmp_path / "more")
    table.sql("OPTIMIZE TABLE laion FINAL")
    result = table.search(a_query())
    assert result.stats.mode == "exact"
    with pytest.raises(QueryError, match="has no graph: build it with cliphouse index image"):
        table.search(a_query(), mode="hnsw")
    assert table.index(quick).seconds > 0
    assert table.search(a_query(), mode="hnsw").stats.mode == "hnsw"


def test_an_index_counts_by_what_it_is_and_not_by_its_name(table: Table) -> None:
    table.sql(
        "ALTER TABLE laion ADD INDEX image_index image_embedding "
        f"TYPE vector_similarity('hnsw', 'L2Distance', {DIM}, 'bf16', 8, 32) GRANULARITY 100000000"
    )
    table.sql("ALTER TABLE laion MATERIALIZE INDEX image_index SETTINGS mutations_sync = 2")
    assert table.search(a_query(), mode="hnsw", metric="l2").stats.mode == "hnsw"
    with pytest.raises(QueryError, match="no cosine index on image_embedding"):
        table.search(a_query(), mode="hnsw")


def test_the_second_index_is_finished_too(tmp_path: Path, open_table: OpenTable) -> None:
    """Where an interruption left one part with the graph and another without."""
    made = make_shard(tmp_path / "s", 0, 600, DIM)
    table = open_table()
    table.ingest(made.folder)
    table.sql(
        "CREATE TABLE parted (id Int64, image_embedding Array(Float32), text_embedding "
        "Array(Float32)) ENGINE = MergeTree ORDER BY id PARTITION BY id % 2 SETTINGS "
        "materialize_skip_indexes_on_merge = 0, min_bytes_for_wide_part = 0"
    )
    table.sql("INSERT INTO parted SELECT id, image_embedding, text_embedding FROM laion")
    parted = Table(tmp_path / "laion.chdb", "parted")
    parted.index("image")
    kind = f"vector_similarity('hnsw', 'cosineDistance', {DIM}, 'bf16', 32, 128)"
    parted.sql(f"ALTER TABLE parted ADD INDEX text_index text_embedding TYPE {kind}")
    parted.sql(
        "ALTER TABLE parted MATERIALIZE INDEX text_index IN PARTITION 0 SETTINGS mutations_sync = 2"
    )
    half = parted.summary().indexes
    assert parted.index("text").seconds > 0
    assert parted.index("text").seconds == 0
    sizes = {index.name: index.memory_bytes for index in parted.summary().indexes}
    assert sizes["text_index"] > 1.5 * next(i.memory_bytes for i in half if i.name == "text_index")
    parted.close()


def test_an_interruption_stops_no_work_of_others(table: Table) -> None:
    def change(column: str, sync: int) -> None:
        settings = f"SETTINGS mutations_sync = {sync}"
        table.sql(f"ALTER TABLE laion UPDATE {column} = 'changed' WHERE 1 {settings}")

    def interrupt(share: float) -> None:
        change("caption", 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.index(IndexSpec(m=64, ef_construction=1000), interrupt)
    change("url", 2)  # which waits for all before it
    found = table.sql("SELECT DISTINCT caption, url FROM laion").to_pylist()
    assert found == [{"caption": "changed", "url": "changed"}]


def test_rows_of_one_id_are_not_taken_for_one(table: Table) -> None:
    """As in the guide's table, where every shard counts from 0."""
    table.sql(
        "CREATE TABLE twins ENGINE = MergeTree ORDER BY id AS SELECT id % 500 AS id, url, caption, "
        "image_embedding, text_embedding FROM laion"
    )
    with Table(table.address.folder, "twins") as twins:
        assert len(twins.search(a_query(), ROWS, dedup=0.999999)) == ROWS
        vectors = stored(twins, "twins")
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        ranked = np.argsort(-(unit @ a_query().astype(np.float64)))
        wanted: list[int] = []
        for row in ranked.tolist():
            if not wanted or (unit[wanted] @ unit[row]).max() < 0.3:
                wanted.append(row)
        found = twins.search(a_query(), 30, dedup=0.3)
        expected = 1 - unit[wanted[:30]] @ a_query() / np.linalg.norm(a_query())
        np.testing.assert_allclose([hit.distance for hit in found], expected, atol=1e-5)
        assert {entry.queries for entry in twins.recall(queries=20)} == {20}


def test_near_duplicates_apart_hits_are_the_same(tmp_path: Path, open_table: OpenTable) -> None:
    """Whatever bytes their text is, and also if a value is missing."""
    text = [b"caf\xe9", b"\xff\xfe", "ü".encode(), b""]
    made = make_shard(tmp_path / "s", 0, 50, DIM)
    table = open_table()
    table.ingest(made.folder)
    listed = "[" + ", ".join(f"unhex('{t.hex()}')" for t in text) + "]"
    table.sql(
        f"CREATE TABLE bytes ENGINE = MergeTree ORDER BY id AS SELECT id, {listed}[id % 4 + 1] AS "
        f"caption, toLowCardinality({listed}[id % 4 + 1]) AS NSFW, CAST(if(id % 3 > 0, similarity, "
        "NULL), 'Nullable(Float32)') AS similarity, width, image_embedding FROM laion"
    )
    with Table(table.address.folder, "bytes") as opened:
        plain = opened.search(a_query(), 50)
        found = opened.search(a_query(), 50, dedup=0.999)
    known = [{**hit.to_dict(), "similarity": repr(hit.similarity)} for hit in plain]
    assert [{**h.to_dict(), "similarity": repr(h.similarity)} for h in found] == known
    assert {hit.caption for hit in found} == {t.decode("utf-8", "replace") for t in text}
    assert {hit.NSFW for hit in found} == {hit.caption for hit in found}


def test_nothing_passes(table: Table) -> None:
    assert list(table.search(a_query(), dedup=0.9, where="0")) == []
    assert list(table.search(a_query(), where="0")) == []


def test_a_condition_means_the_table_s_own_columns(table: Table) -> None:
    table.sql("ALTER TABLE laion ADD COLUMN distance Float32 MATERIALIZED id % 50")
    table.sql("ALTER TABLE laion ADD COLUMN match Float32 MATERIALIZED id % 50")
    for column in ("distance", "match"):
        for metric in ("cosine", "l2"):
            found = table.search(a_query(), ROWS, where=f"{column} >= 25", metric=metric)  # type: ignore[arg-type]
            assert sorted(hit.id for hit in found) == [i for i in range(ROWS) if i % 50 >= 25]


@pytest.mark.parametrize("where", ["1) OR (1", "id = 'a", "(1", "id IN [1", "1 /* open"])
def test_a_condition_cannot_leave_its_brackets(table: Table, where: str) -> None:
    told = r"where: position \d+, at .*: this (bracket|quote|comment) (has no|does not)"
    with pytest.raises(QueryError, match=told):
        table.search(a_query(), where=where, filter=Filter(min_width=10**6))


def test_an_empty_condition_is_none(table: Table) -> None:
    assert len(table.search(a_query(), where="  ")) == 10


@pytest.mark.parametrize(
    "values",
    [
        {"min_width": 2**70},
        {"min_width": 10.5},
        {"min_similarity": float("nan")},
        {"max_height": "10"},
        {"nsfw_in": "UNLIKELY"},
        {"license_in": (1,)},
        {"caption_contains": 7},
        {"shards": 0},
        {"shards": ("a",)},
        {"shards": (-1,)},
    ],
)
def test_a_filter_of_the_wrong_kind_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match=f"filter {next(iter(values))}: "):
        Filter(**values)


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda t: t.search(np.full(DIM, 1e25)), "such a vector finds nothing"),
        (lambda t: t.search(np.full(DIM, 1e-30)), "such a vector finds nothing"),
        (lambda t: t.search([[1.0], [1.0, 2.0]]), "its rows differ in length"),
        (lambda t: t.search(np.ones(DIM, complex)), "a query is one vector of numbers"),
        (lambda t: t.search("9" * 400 + ":id:3", add=["id:4"]), "a weight is more than 0 and up"),
        (lambda t: t.search("id:1", k="10"), "k is '10'; it must be a whole number"),
        (lambda t: t.search("id:1", ef=64), "ef is the width of mode hnsw, not of mode auto"),
        (lambda t: t.search("id:1", mode="exact", oversampling=3), "the width of mode codes"),
    ],
)
def test_bad_questions_are_named(table: Table, ask: Callable[[Table], object], match: str) -> None:
    with pytest.raises(QueryError, match=match):
        ask(table)


def test_a_row_without_a_vector_is_no_query(table: Table) -> None:
    table.sql(
        f"ALTER TABLE laion UPDATE image_embedding = arrayResize([0.], {DIM}) WHERE id = 3 "
        "SETTINGS mutations_sync = 2"
    )
    with pytest.raises(QueryError, match=r"id:3: .* such a vector finds nothing"):
        table.search("id:3")
    assert len(table.search("id:4", ROWS, dedup=0.99)) > 10


def test_tables_of_other_engines_and_makes(table: Table) -> None:
    folder = table.address.folder
    table.sql("CREATE VIEW seen AS SELECT * FROM laion")
    table.sql("CREATE TABLE kept ENGINE = Memory AS SELECT * FROM laion")
    expected = [hit.id for hit in table.search(a_query())]
    for name in ("seen", "kept"):
        with Table(folder, name) as other:
            assert [hit.id for hit in other.search(a_query())] == expected
    table.sql(
        'CREATE TABLE strange ENGINE = MergeTree ORDER BY url COMMENT \'{"cliphouse":"x"}\' '
        "AS SELECT url, image_embedding FROM laion"
    )
    with Table(folder, "strange") as other, pytest.raises(TableError, match="has no column id"):
        other.search(a_query())
    table.sql(
        "CREATE TABLE gaps ENGINE = MergeTree ORDER BY id AS SELECT id, "
        "CAST(NULL, 'Nullable(String)') AS caption, image_embedding FROM laion"
    )
    with Table(folder, "gaps") as other:
        assert {hit.caption for hit in other.search(a_query())} == {""}


def test_a_comment_of_anyone_s_stops_nobody(table: Table) -> None:
    table.sql('CREATE TABLE other (a Int8) ENGINE = Memory COMMENT \'{"cliphouse":"x"}\'')
    assert table.sql("SELECT 1 AS one").column("one").to_pylist() == [1]
    assert existing_indexes(replace(table.handle, placement=Placement("other", "other"))) == {}
