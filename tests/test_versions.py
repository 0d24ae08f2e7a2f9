"""What is kept with a table has a version: 0.1's is carried on, a newer one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cliphouse
from cliphouse.errors import ModelError, TableError
from cliphouse.loading.ledger import LEDGER
from cliphouse.schema.info import TableInfo
from cliphouse.schema.migrations import DESCRIPTION, LEDGER_RECORD
from cliphouse.table import Table
from cliphouse.vocabulary import MODALITIES, Codes, Measured, Modality, Precision
from conftest import OpenTable
from shard_files import make_shard
from test_ingest import check_equal

DIM = 16
# Word for word what 0.1 wrote for shards of the bundled model's dimension.
MEASURED_BY_0_1 = (
    '{"modality":"image","query":"text","mode":"hnsw","width":512,"k":10,"recall":0.96,'
    '"milliseconds":7.5,"queries":200,"rows":40,"index":"","metric":"cosine",'
    '"standard_error":0.004,"p95":9.0,"target":0.95}'
)
COMMENT_OF_0_1 = (
    '{"cliphouse":{"model":"tiny","dim":16,"precision":"float32","modalities":["image","text"],'
    f'"measured":[{MEASURED_BY_0_1}],"codes":"none"}}}}'
)
TABLE_OF_0_1 = f"""CREATE TABLE laion
(
    id Int64,
    url String CODEC(ZSTD),
    caption String CODEC(ZSTD),
    NSFW LowCardinality(String),
    similarity Float32,
    image_embedding Array(Float32) CODEC(NONE),
    text_embedding Array(Float32) CODEC(NONE),
    width Int32,
    height Int32,
    license LowCardinality(String)
)
ENGINE = MergeTree
ORDER BY id
SETTINGS index_granularity = 512, min_bytes_for_wide_part = 0,
    materialize_skip_indexes_on_merge = 0, non_replicated_deduplication_window = 10000
COMMENT '{COMMENT_OF_0_1}'"""
LEDGER_OF_0_1 = """CREATE TABLE laion_ledger
(
    shard UInt32,
    at DateTime64(6) DEFAULT now64(6),
    state LowCardinality(String),
    rows UInt64,
    files String,
    worker String,
    generation UInt32,
    attempt UInt32
)
ENGINE = MergeTree
ORDER BY (shard, at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What cliphouse has loaded, shard by shard'"""
LEDGER_BEFORE_CLAIMS = """CREATE TABLE laion_ledger
(
    shard UInt32,
    at DateTime64(6) DEFAULT now64(6),
    state LowCardinality(String),
    rows UInt64,
    files String,
    worker String
)
ENGINE = MergeTree
ORDER BY (shard, at)
COMMENT 'What cliphouse has loaded, shard by shard'"""
FIGURE = Measured(**json.loads(MEASURED_BY_0_1))


def made_by_0_1(table: Table, folder: Path, ledger: str) -> None:
    """Shard 0 of ``folder`` as 0.1 left it: its table, its ledger, and in them the shard."""
    table.ingest(folder, shards={0})
    table.sql("RENAME TABLE laion TO rows, laion_ledger TO lines")
    table.sql(TABLE_OF_0_1)
    table.sql(ledger)
    table.sql("INSERT INTO laion SELECT * FROM rows")
    claims = ", generation" if "generation" in ledger else ""
    states = "1" if claims else "state IN ('loading', 'done')"
    columns = f"shard, at, state, rows, files, worker{claims}"
    table.sql(f"INSERT INTO laion_ledger ({columns}) SELECT {columns} FROM lines WHERE {states}")
    table.sql("DROP TABLE rows")
    table.sql("DROP TABLE lines")


def comment(table: Table, name: str) -> str:
    found = table.sql(
        "SELECT comment FROM system.tables WHERE database = currentDatabase() "
        "AND name = {name:String}",
        {"name": name},
    )
    return str(found.column("comment")[0].as_py())


def set_comment(table: Table, name: str, text: str) -> None:
    table.sql(f"ALTER TABLE {name} MODIFY COMMENT '{text}'")


@pytest.mark.parametrize("ledger", [LEDGER_OF_0_1, LEDGER_BEFORE_CLAIMS])
def test_a_table_of_0_1_is_carried_on(tmp_path: Path, open_table: OpenTable, ledger: str) -> None:
    made = [make_shard(tmp_path / "s", number, rows=20, dim=DIM) for number in range(2)]
    table = open_table(model="tiny")
    made_by_0_1(table, tmp_path / "s", ledger)
    # Reading changes nothing.
    assert (table.info.model, table.info.measured) == ("tiny", (FIGURE,))
    assert [hit.id for hit in table.search("id:3", k=1, mode="exact")] == [3]
    summary = table.summary()
    assert (summary.model, summary.shards, summary.unfinished) == ("tiny", 1, ())
    assert table.check().findings == ()
    assert comment(table, "laion") == COMMENT_OF_0_1
    assert comment(table, "laion_ledger") == "What cliphouse has loaded, shard by shard"
    # Loading migrates the ledger and leaves what is loaded alone.
    assert [load.inserted for load in table.ingest(tmp_path / "s").loads] == [0, 20]
    assert json.loads(comment(table, "laion_ledger"))["cliphouse_ledger"]["version"] == 2
    assert table.check(tmp_path / "s").findings == ()
    check_equal(table, *made)
    assert table.info.measured == (FIGURE,)
    # An index, and its measured recall, go into a description of this version.
    assert table.index("text").rows == 40
    assert table.info.measured == (FIGURE,)
    table.recall("text", k=5, queries=30, save=True)
    kept = json.loads(comment(table, "laion"))["cliphouse"]
    assert (kept["version"], kept["model"]) == (3, "tiny")
    assert FIGURE in table.info.measured
    assert any(figure.modality == "text" for figure in table.info.measured)


def test_what_this_release_writes_bears_the_version(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", rows=2, dim=DIM)
    table = open_table()
    table.ingest(tmp_path / "s")
    assert json.loads(comment(table, "laion"))["cliphouse"]["version"] == DESCRIPTION.version == 3
    assert json.loads(comment(table, "laion_ledger"))["cliphouse_ledger"]["version"] == 2


NEWER = {
    "laion": '{"cliphouse":{"version":4,"models":["a","b"]}}',
    "laion_ledger": '{"cliphouse_ledger":{"version":7}}',
}
USES: dict[str, Callable[[Table, Path], object]] = {
    "search": lambda table, folder: table.search("id:1", k=1),
    "ingest": lambda table, folder: table.ingest(folder / "s"),
    "replace": lambda table, folder: table.ingest(folder / "s", replace=True),
    "info": lambda table, folder: table.summary(),
    "check": lambda table, folder: table.check(),
    "export": lambda table, folder: table.export(folder / "out.csv", "csv"),
    "index": lambda table, folder: table.index(),
    "drop": lambda table, folder: table.drop_index(),
    "recall": lambda table, folder: table.recall(queries=2),
    "items": lambda table, folder: table.items([1]),
    "statistics": lambda table, folder: table.statistics(),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newer")
    make_shard(folder / "s", rows=5, dim=DIM)
    with cliphouse.open(folder / "laion.chdb") as table:
        table.ingest(folder / "s")
        # Another shard, which every ingest would have to load.
        make_shard(folder / "s", 1, rows=5, dim=DIM)
    return folder


@pytest.mark.parametrize("name", NEWER)
def test_a_newer_version_is_refused_by_everything(loaded: Path, name: str) -> None:
    with cliphouse.open(loaded / "laion.chdb") as table:
        before = {each: comment(table, each) for each in NEWER}
        try:
            set_comment(table, name, NEWER[name])
            for use, run in USES.items():
                with pytest.raises(TableError) as caught:
                    run(table, loaded)
                title = {"laion": "description of table", "laion_ledger": "ledger"}[name]
                version, known = {"laion": (4, 3), "laion_ledger": (7, 2)}[name]
                assert str(caught.value) == (
                    f"the {title} {name} has version {version}, and cliphouse "
                    f"{cliphouse.__version__} knows no later version than {known}; upgrade "
                    "cliphouse: pip install --upgrade cliphouse"
                ), use
            assert comment(table, name) == NEWER[name]
            assert table.sql("SELECT count() AS n FROM laion").to_pylist() == [{"n": 5}]
            assert not (loaded / "out.csv").exists()
        finally:
            set_comment(table, name, before[name])


def test_a_newer_ledger_without_its_table_is_refused(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", rows=5, dim=DIM)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("DROP TABLE laion")
    set_comment(table, "laion_ledger", NEWER["laion_ledger"])
    with pytest.raises(TableError, match="the ledger laion_ledger has version 7"):
        table.ingest(tmp_path / "s")
    assert table.sql("SHOW TABLES").column("name").to_pylist() == ["laion_ledger"]


def test_a_newer_version_stops_no_other_table(tmp_path: Path, open_table: OpenTable) -> None:
    """Other tables are used as before, and so is SQL; but no model is guessed for the functions."""
    make_shard(tmp_path / "s", rows=5, dim=DIM)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql(f"CREATE TABLE newer (a Int8) ENGINE = Memory COMMENT '{NEWER['laion']}'")
    assert table.search("id:1", k=1)[0].id == 1
    with pytest.raises(ModelError, match="description of table newer has version 4"):
        table.encode("a dog")
    with pytest.raises(ModelError, match="description of table newer has version 4"):
        table.sql("SELECT encode_text('a dog')")
    with Table(tmp_path / "laion.chdb", model="tiny") as chosen:
        assert chosen.encode("a dog").ndim == 1


def test_unknown_keys_of_our_own_version_are_no_harm(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", rows=5, dim=DIM)
    table = open_table()
    table.ingest(tmp_path / "s")
    info = TableInfo("tiny", DIM, "float32", ("image", "text"), (FIGURE,))
    content = json.loads(info.to_comment())
    content["cliphouse"]["owner"] = {"name": "me"}
    content["cliphouse"]["measured"][0]["weather"] = "fine"
    content["other"] = 1
    set_comment(table, "laion", json.dumps(content))
    assert table.info == info


@pytest.mark.parametrize(
    "text",
    [
        "",
        "our pictures",
        "17",
        "null",
        "[" * 100_000,
        '["cliphouse"]',
        '{"version": 9}',
        '{"cliphouse": "x"}',
        '{"cliphouse": null}',
        '{"cliphouse": {"version": 2}}',
        '{"cliphouse": {"model": "tiny", "dim": 16, "modalities": 3}}',
        '{"other": {"version": 9, "dim": 16}}',
    ],
)
def test_the_comment_of_somebody_else_is_foreign(text: str) -> None:
    assert TableInfo.from_comment(text, "laion") is None


@pytest.mark.parametrize("version", [4, 99, 0, -1, 2.5, "2", None, True])
def test_a_version_that_is_not_known_is_refused(version: object) -> None:
    comment = json.dumps({"cliphouse": {"version": version}})
    with pytest.raises(TableError, match="the description of table t has version"):
        TableInfo.from_comment(comment, "t")
    comment = json.dumps({"cliphouse_ledger": {"version": version}})
    with pytest.raises(TableError, match="the ledger t_ledger has version"):
        LEDGER_RECORD.version_of(comment, "t_ledger")


def test_the_ledger_of_this_release_knows_its_version() -> None:
    assert LEDGER_RECORD.version_of(LEDGER.comment, "laion_ledger") == LEDGER_RECORD.version
    assert LEDGER_RECORD.version_of("What cliphouse has loaded, shard by shard", "x") is None


MODALITY = st.sampled_from(MODALITIES)
COUNT = st.integers(0, 2**62)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
FIGURES = st.builds(
    Measured,
    modality=MODALITY,
    query=MODALITY,
    mode=st.text(),
    width=COUNT,
    k=COUNT,
    recall=NUMBER,
    milliseconds=NUMBER,
    queries=COUNT,
    rows=COUNT,
    index=st.text(),
    metric=st.sampled_from(["cosine", "l2"]),
    standard_error=NUMBER,
    p95=NUMBER,
    target=NUMBER,
)
INFOS = st.builds(
    TableInfo,
    model=st.none() | st.text(),
    dim=COUNT,
    precision=st.sampled_from(get_args(Precision)),
    modalities=st.lists(MODALITY, unique=True).map(tuple[Modality, ...]),
    measured=st.lists(FIGURES, max_size=3).map(tuple[Measured, ...]),
    codes=st.sampled_from(get_args(Codes)),
)


@given(INFOS)
def test_a_description_comes_back_as_it_was_written(info: TableInfo) -> None:
    assert TableInfo.from_comment(info.to_comment(), "t") == info


@given(INFOS)
def test_version_1_is_read_as_0_1_meant_it(info: TableInfo) -> None:
    """0.1 wrote the same fields without a version."""
    comment = json.dumps({"cliphouse": asdict(info)}, separators=(",", ":"))
    assert TableInfo.from_comment(comment, "t") == info
