"""The statements for a cluster with Keeper, which cannot run here: kept as files to be read, and
each parsed by the engine.

Write the files anew, and read what has changed in them, with

    GOLDEN=write python -m pytest tests/test_cluster_sql.py
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import cliphouse
from cliphouse.cluster.ddl import create_statements
from cliphouse.cluster.placement import Cluster, Node, Placement
from cliphouse.cluster.topology import on_every_node
from cliphouse.engine.address import parse_address
from cliphouse.engine.connection import Connection
from cliphouse.engine.features import EVERYTHING
from cliphouse.engine.opening import open_connection
from cliphouse.errors import EngineError
from cliphouse.indexing.build import IndexBuilder
from cliphouse.loading.ledger import LEDGER
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.schema.info import TableInfo, table_layout, write_info
from shard_files import make_shard
from standin_cluster import StandInCluster

GOLDEN = Path(__file__).parent / "golden" / "cluster"
INFO = TableInfo("ViT-B/32", 512, "float32", ("image", "text"))
# Two shards on two nodes each, with a Keeper.
PLACEMENT = Placement(
    "laion",
    "laion_local",
    "default",
    Cluster(
        "big",
        tuple(
            Node(shard, f"ch-{shard}-{replica}", 9000, shard == replica == 1, True)
            for shard in (1, 2)
            for replica in (1, 2)
        ),
        has_keeper=True,
        is_replicated=True,
    ),
)


class Recorder:
    """A connection that notes what it is told, and answers questions about builds: one is begun by
    the first statement, and fails."""

    def __init__(self) -> None:
        self.address = parse_address("http://ch:8123")
        self.features = EVERYTHING
        self.told: list[str] = []
        self.asked: list[str] = []

    def command(self, sql: str, parameters: Any = None, settings: Any = None) -> int:
        listed = ", ".join(f"{name} = {value!r}" for name, value in (settings or {}).items())
        self.told.append(sql + (f"\n-- with {listed}" if listed else ""))
        return 0

    def query(self, sql: str, parameters: Any = None) -> pa.Table:
        self.asked.append(sql)
        if "system.mutations" in sql and "NOT is_done" not in sql:
            begun = sum("MATERIALIZE INDEX" in told for told in self.told)
            return pa.Table.from_pylist([{"place": n, "builds": begun} for n in (1, 2, 3, 4)])
        if "system.mutations" in sql and self.told:
            return pa.Table.from_pylist([{"place": 3, "parts": 1, "reason": "no memory"}])
        if "system.parts" in sql:
            return pa.Table.from_pylist([{"place": n, "parts": 1} for n in (1, 2, 3, 4)])
        places = [{"place": n} for n in (1, 2, 3, 4)]
        return pa.Table.from_pylist(places if "system.one" in sql else [])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder = parse_address(str(tmp_path_factory.mktemp("engine")))
    connection = open_connection(folder, create=True)
    yield connection
    connection.close()


def check(engine: Connection, name: str, statements: Sequence[str]) -> None:
    """They are those of the file, and SQL to the engine."""
    for statement in statements:
        bare = statement.partition("\n-- with ")[0]
        assert engine.raw(f"EXPLAIN AST {bare} FORMAT TSV"), statement
    text = "".join(f"{statement};\n\n" for statement in statements)
    path = GOLDEN / f"{name}.sql"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_what_a_whole_journey_says_to_a_cluster(
    tmp_path: Path, two_shards: StandInCluster, engine: Connection
) -> None:
    """One node a shard, as the stand-in has them, with Keeper and macros."""
    make_shard(tmp_path / "s", 0, 40, 16)
    steps: dict[str, list[str]] = {}
    database = two_shards.fresh()
    two_shards.statements()
    with cliphouse.open(two_shards.url(database)) as table:
        table.ingest(tmp_path / "s", cluster="two")
        steps["ingest"] = two_shards.statements()
        table.index(IndexSpec(m=16))
        steps["index"] = two_shards.statements()
        write_info(table.connection, table.handle.placement, replace(table.info, model="ViT-B/32"))
        steps["write_info"] = two_shards.statements()
        table.drop_index()
        steps["drop_index"] = two_shards.statements()
        make_shard(tmp_path / "s", 0, 40, 16, seed=9)
        table.ingest(tmp_path / "s", replace=True)
        steps["replace"] = two_shards.statements()
    for step, statements in steps.items():
        check(engine, step, [_without_chance(s, database) for s in statements])


def _without_chance(statement: str, database: str) -> str:
    """Without the part of a path that is new each time, and in the default database."""
    statement = re.sub(r"/[0-9a-f]{8}/\{shard\}", "/01234567/{shard}", statement)
    return re.sub(rf"\b{database}\b", "default", statement)


def test_tables_of_two_shards_on_two_nodes_each(engine: Connection) -> None:
    statements = [
        *create_statements(PLACEMENT, table_layout(INFO), "01234567"),
        *create_statements(PLACEMENT.beside("ledger"), LEDGER, "01234567"),
    ]
    check(engine, "replicated", statements)


def test_a_build_that_fails_on_one_node_is_stopped_on_all(engine: Connection) -> None:
    recorder = Recorder()
    builder = IndexBuilder(TableHandle(recorder, PLACEMENT, INFO, {}, None))  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="no memory"):
        builder.materialize("image_index", None)
    check(engine, "failed_build", [*recorder.told, *recorder.asked])


def test_rows_are_looked_for_again_when_all_replicas_have_them(engine: Connection) -> None:
    recorder = Recorder()
    PLACEMENT.settle(recorder)  # type: ignore[arg-type]
    check(engine, "settle", [*recorder.asked, *recorder.told])


def test_a_node_that_comes_later_gets_the_tables_of_the_others(engine: Connection) -> None:
    made = (
        "CREATE TABLE default.laion_local (`id` Int64, INDEX image_index v TYPE vector_similarity"
        "('hnsw', 'cosineDistance', 2)) ENGINE = ReplicatedMergeTree('/clickhouse/tables/default/"
        "laion_local/01234567/{shard}', '{replica}') ORDER BY id"
    )
    check(engine, "late_node", [on_every_node(PLACEMENT, "laion_local", made)])


def test_what_was_written_is_read_from_the_same_replica(engine: Connection) -> None:
    assert PLACEMENT.insert_settings == {
        "distributed_foreground_insert": 1,
        "prefer_localhost_replica": 0,
        "load_balancing": "in_order",
        "use_hedged_requests": 0,
    }
    asked = f"SELECT id FROM {PLACEMENT.whole}"
    check(engine, "consistent", [asked + PLACEMENT.consistent])
    alone = Placement("laion", "laion")
    assert (alone.insert_settings, alone.on) == ({}, "")
    assert alone.consistent == ""
