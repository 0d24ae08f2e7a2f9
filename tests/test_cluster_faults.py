"""What cannot be done on a cluster, and what comes of a shard that is down: one clear line each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cliphouse
from cliphouse import Table
from cliphouse.cluster.placement import Cluster, Node, Placement, find_placement
from cliphouse.cluster.topology import check_macros, on_every_node
from cliphouse.engine.features import SKIP_SHARDS, Features, Setting
from cliphouse.engine.retry import RetryTimes
from cliphouse.errors import CliphouseError, EngineError, TableError
from cliphouse.loading.lease import Leases
from cliphouse.loading.ledger import Ledger
from cliphouse.schema.facts import read_facts
from cliphouse.schema.index_spec import IndexSpec
from conftest import OpenTable, Run
from hooked import Hooks, hooked_ingest
from shard_files import make_shard
from standin_cluster import DOWN, MACROS, SKIPPING, UP, Clusters, StandInCluster

CLUSTERS: Clusters = {
    "one": [[UP]],
    "two": [[UP], [UP]],
    "copies": [[UP, UP]],
    "broken": [[UP], [DOWN]],
}
IN_HASTE = RetryTimes(short=0.1, long=0.1)  # what is down here is down for good
WHOLE: Clusters = {"two": [[UP], [UP]], "one": [[UP]]}
ONE_DOWN: Clusters = {"two": [[UP], [DOWN]], "one": [[UP, DOWN]]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards in s."""
    folder = tmp_path_factory.mktemp("faults")
    for number in range(2):
        make_shard(folder / "s", number, 60, 16)
    return folder


@pytest.fixture(scope="module")
def bare(folder: Path) -> Iterator[Table]:
    """A server without Keeper or macros."""
    with (
        StandInCluster(folder / "bare", CLUSTERS, has_keeper=False) as server,
        cliphouse.open(server.url()) as table,
    ):
        yield table


@pytest.fixture(scope="module")
def keeper(folder: Path) -> Iterator[StandInCluster]:
    """A server with Keeper and macros, whose shards are to have each row sent to every replica."""
    with StandInCluster(folder / "kept", CLUSTERS, macros=MACROS, is_internal=False) as server:
        yield server


@pytest.fixture(scope="module")
def kept(keeper: StandInCluster) -> Iterator[Table]:
    with cliphouse.open(keeper.url()) as table:
        yield table


@dataclass(frozen=True)
class OneDown:
    """A server whose cluster ``two`` has lost its second shard, and ``one`` its second replica: on
    the former is the table laion, with ``first`` rows on its first shard, on the latter single."""

    server: StandInCluster
    first: int


@pytest.fixture(scope="module")
def one_down(folder: Path) -> Iterator[OneDown]:
    home = folder / "down"
    with StandInCluster(home, WHOLE, 2, macros=MACROS) as server:
        with cliphouse.open(server.url()) as table:
            table.ingest(folder / "s", cluster="two")
            first = table.sql("SELECT count() AS n FROM laion WHERE shardNum() = 1").column("n")[0]
        with cliphouse.open(server.url(), "single") as table:
            table.ingest(folder / "s", cluster="one")
    with StandInCluster(home, ONE_DOWN, 2, macros=MACROS) as server:
        yield OneDown(server, first.as_py())


def said(what: Callable[[], object], kind: type[CliphouseError] = TableError) -> str:
    """The line that it is refused with."""
    with pytest.raises(kind) as caught:
        what()
    line = str(caught.value)
    assert "\n" not in line
    assert "s3cret" not in line
    return line


def test_a_cluster_that_is_not_there_is_refused_by_those_that_are(
    bare: Table, folder: Path
) -> None:
    line = said(lambda: bare.ingest(folder / "s", cluster="three"))
    assert "no cluster three" in line
    assert "broken, copies, one, two" in line


def test_an_embedded_database_has_no_cluster(open_table: OpenTable, folder: Path) -> None:
    table = open_table()
    line = said(lambda: table.ingest(folder / "s", cluster="one"))
    assert "--cluster is for a ClickHouse server" in line


def test_replicas_need_a_keeper(bare: Table, folder: Path) -> None:
    line = said(lambda: bare.ingest(folder / "s", cluster="copies"))
    assert "copy from one another through Keeper" in line


def test_replicas_need_macros(folder: Path) -> None:
    with (
        StandInCluster(folder / "lacking", CLUSTERS, macros={"shard": "01"}) as server,
        cliphouse.open(server.url()) as table,
    ):
        line = said(lambda: table.ingest(folder / "s", cluster="copies"))
    assert f"127.0.0.1:{UP} has no macros shard and replica" in line


def test_replicas_must_copy_rows_themselves(kept: Table, folder: Path) -> None:
    line = said(lambda: kept.ingest(folder / "s", cluster="copies"))
    assert "internal_replication" in line


def node(shard: int, replica: int) -> Node:
    return Node(shard, f"ch-{shard}-{replica}", UP, False, True)


@pytest.mark.parametrize(
    ("macros", "line"),
    [
        ([("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")], None),
        ([("1", "a"), ("1", "a"), ("2", "a"), ("2", "b")], "ch-1-2:9000 has macros shard 1"),
        ([("1", "a"), ("1", "b"), ("1", "c"), ("2", "b")], "ch-2-1:9000 has macros shard 1"),
        ([("1", "a"), ("3", "b"), ("2", "a"), ("2", "b")], "nodes of shard 1 have different"),
    ],
)
def test_macros_must_tell_shards_and_replicas_apart(
    macros: list[tuple[str, str]], line: str | None
) -> None:
    nodes = (node(1, 1), node(1, 2), node(2, 1), node(2, 2))
    given = {
        n: {"shard": shard, "replica": replica}
        for n, (shard, replica) in zip(nodes, macros, strict=True)
    }
    cluster = Cluster("c", nodes, True, True)
    if line is None:
        check_macros(cluster, given)
    else:
        assert line in said(lambda: check_macros(cluster, given))


def test_a_table_that_is_elsewhere_is_left_there(kept: Table, bare: Table, folder: Path) -> None:
    bare.ingest(folder / "s")
    line = said(lambda: bare.ingest(folder / "s", cluster="one"))
    assert "exists already, on this server alone" in line
    kept.ingest(folder / "s", cluster="one")
    line = said(lambda: kept.ingest(folder / "s", cluster="two"))
    assert "exists already, on cluster one" in line


def test_no_table_is_made_where_a_node_is_down(keeper: StandInCluster, folder: Path) -> None:
    with cliphouse.open(keeper.url(), "other") as table:
        line = said(lambda: table.ingest(folder / "s", cluster="broken"), EngineError)
        assert f"127.0.0.1:{DOWN} cannot be reached" in line
        assert not table.sql("SELECT 1 FROM system.tables WHERE name LIKE 'other%'").num_rows


def test_without_keeper_a_statement_goes_to_every_node_by_itself(bare: Table) -> None:
    """The second node is the same server by another way, so the statement comes twice."""
    bare.sql("CREATE TABLE noted (x UInt8) ENGINE = Memory")
    nodes = (
        Node(1, "127.0.0.1", UP, True, True),
        Node(2, "127.0.0.1", DOWN, False, True),
    )
    placement = Placement("noted", "noted", "default", Cluster("c", nodes, False, False))
    placement.run(bare.connection, f"INSERT INTO {placement.rows} VALUES (7)")
    assert bare.sql("SELECT x FROM noted").column("x").to_pylist() == [7, 7]


def test_without_keeper_a_node_that_fails_is_named_with_its_statement(bare: Table) -> None:
    nodes = (
        Node(1, "127.0.0.1", UP, True, True),
        Node(2, "no-such-host.invalid", UP, False, True),
    )
    placement = Placement("x", "x_local", "default", Cluster("c", nodes, False, False))
    line = said(lambda: placement.run(bare.connection, "SELECT 1"), EngineError)
    assert "no-such-host.invalid failed" in line
    assert line.endswith("run there: SELECT 1")


def test_a_shard_that_is_down_is_an_error_and_no_fewer_rows(
    one_down: OneDown, folder: Path, run: Run
) -> None:
    url = one_down.server.url()
    with cliphouse.open(url, retry=IN_HASTE) as table:
        for what in (
            lambda: table.search("id:7", k=3),
            lambda: table.check(),
            lambda: table.ingest(folder / "s"),
        ):
            line = said(what, EngineError)
            assert f"cannot be reached (Connection refused (127.0.0.1:{DOWN}))" in line
        line = said(lambda: table.index(IndexSpec(m=8)), EngineError)
        assert f"127.0.0.1:{DOWN} cannot be reached" in line
        told = json.loads(run("info", "--json", "--db", url).stdout)
        drawn = run("info", "--db", url).stdout
        asked = "SELECT count() AS n FROM laion SETTINGS skip_unavailable_shards = 1"
        assert table.sql(asked).to_pylist() == [{"n": one_down.first}]
    assert told["rows"] == one_down.first
    assert [n["is_reachable"] for n in told["nodes"]] == [True, False]
    assert "unreachable: its rows are not counted" in drawn


def test_a_profile_that_skips_dead_shards_is_overruled(
    one_down: OneDown, folder: Path, tmp_path: Path
) -> None:
    url = one_down.server.url(user=SKIPPING)
    for what in (
        lambda table: table.search("id:7", k=3),
        lambda table: table.items([4, 5]),
        lambda table: table.statistics(),
        lambda table: table.export(tmp_path / "out.jsonl", "jsonl"),
        lambda table: table.check(),
        lambda table: table.ingest(folder / "s"),
    ):
        with cliphouse.open(url, retry=IN_HASTE) as table:
            line = said(lambda: what(table), EngineError)  # noqa: B023 - called at once
        assert f"cannot be reached (Connection refused (127.0.0.1:{DOWN}))" in line
    with cliphouse.open(url) as table:
        assert [node.is_reachable for node in table.summary().nodes] == [True, False]
        bare = table.sql("SELECT count() AS n FROM laion SETTINGS skip_unavailable_shards = 1")
        assert bare.to_pylist() == [{"n": one_down.first}]


def test_a_replica_that_is_down_keeps_nobody_from_searching(one_down: OneDown) -> None:
    with cliphouse.open(one_down.server.url(), "single") as table:
        assert table.search("id:7", k=60)[0].id == 7
        line = said(lambda: table.index(IndexSpec(m=8)), EngineError)
    assert f"127.0.0.1:{DOWN} cannot be reached" in line


class TakenOver(Hooks):
    """Another worker claims shard 1 while its rows are deleted."""

    def __init__(self, other: Leases) -> None:
        self._other = other

    def statement(self, sql: str, run: Callable[[], Any]) -> Any:
        found = run()
        if sql.startswith("DELETE FROM"):
            assert self._other.claim(1, self._other.claims(1, 1)[1])
        return found


def test_a_worker_that_lost_its_shard_while_deleting_says_so(
    two_shards: StandInCluster, folder: Path, tmp_path: Path
) -> None:
    make_shard(tmp_path / "new", 1, 60, 16, seed=9)
    url = two_shards.fresh_url()
    with cliphouse.open(url) as table:
        table.ingest(folder / "s", cluster="two")
        with Leases(table.connection, Ledger(table.connection, table.handle.placement)) as other:
            line = said(
                lambda: hooked_ingest(url, tmp_path / "new", TakenOver(other), replace=True)
            )
        assert "shard 1: another worker took it over" in line
        table.ingest(tmp_path / "new", replace=True)
        assert table.check(tmp_path / "new").findings == ()


def test_a_user_whose_searches_would_leave_out_shards_is_told(
    two_shards: StandInCluster, folder: Path
) -> None:
    """The profile of this user is pretended: the setting's value, and that it is fixed."""
    with cliphouse.open(two_shards.fresh_url()) as table:
        table.ingest(folder / "s", cluster="two")
        for value, is_free in (("0", False), ("1", True), ("1", False)):
            setting = Setting(value, is_free)
            table.connection.features = Features(settings={SKIP_SHARDS: setting})
            if is_free or value == "0":
                assert read_facts(table.handle).rows == 120
        line = said(lambda: table.handle, TableError)
    assert "skip_unavailable_shards = 1, which may not be changed" in line


def test_a_batch_that_came_in_part_is_completed(two_shards: StandInCluster, folder: Path) -> None:
    """As where one shard took its part of a batch and the other was down."""
    with cliphouse.open(two_shards.fresh_url()) as table:
        table.ingest(folder / "s", cluster="two")
        ids = table.sql("SELECT id FROM laion ORDER BY id").column("id")
        table.sql("DELETE FROM laion_local WHERE intHash64(id) % 2 = 1 AND id < 100")
        # Half a batch is missing, and the engine still knows the tokens of both halves.
        assert table.ingest(folder / "s", replace=True).inserted > 0
        assert table.sql("SELECT id FROM laion ORDER BY id").column("id") == ids
        assert table.check(folder / "s").findings == ()


def test_a_node_that_lacks_a_table_gets_it_as_the_others_have_it(
    two_shards: StandInCluster, folder: Path
) -> None:
    shown = (
        "SELECT create_table_query AS made FROM system.tables "
        "WHERE database = currentDatabase() AND name = 'laion_local'"
    )
    with cliphouse.open(two_shards.fresh_url()) as table:
        table.ingest(folder / "s", cluster="two")
        table.index(IndexSpec(m=16))
        made = table.sql(shown).to_pylist()
        table.sql("DROP TABLE laion_local SYNC")
        placement = find_placement(table.connection, "laion")
        placement.run(table.connection, on_every_node(placement, "laion_local", made[0]["made"]))
        assert table.sql(shown).to_pylist() == made
    assert "image_index" in made[0]["made"]
