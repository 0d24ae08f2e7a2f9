"""Places a table on a cluster: checks the cluster, and creates tables on nodes that lack them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from cliphouse.cluster.placement import Cluster, Node, Placement, find_placement, read_cluster
from cliphouse.engine.connection import Connection
from cliphouse.engine.quoting import backquote, quote
from cliphouse.errors import TableError

_TABLES = ("{}_local", "{}", "{}_ledger_local", "{}_ledger")


def place(connection: Connection, table: str, cluster: str | None) -> Placement:
    """Where ``table`` is or will be created: on ``cluster`` or, if that is None, on this server.

    Raises TableError if the table exists elsewhere, or the cluster cannot hold a table (see
    plan_placement).
    """
    shown = connection.address.shown
    if cluster is not None and connection.is_embedded:
        raise TableError(
            f"{shown}: an embedded database is one folder of one process; --cluster is for a "
            "ClickHouse server: --db http://user@host:8123/database"
        )
    here = find_placement(connection, table)
    if cluster is None:
        return here
    is_there = connection.command(f"EXISTS TABLE {here.whole}")
    if not is_there:
        return plan_placement(connection, table, cluster)
    if here.cluster is None:
        raise TableError(
            f"{shown}: table {table} exists already, on this server alone; name another with "
            "--table, or leave --cluster out"
        )
    if here.cluster.name != cluster:
        raise TableError(
            f"{shown}: table {table} exists already, on cluster {here.cluster.name}; leave "
            "--cluster out"
        )
    return here


def plan_placement(connection: Connection, table: str, name: str) -> Placement:
    """Where the rows of a new table on cluster ``name`` will be.

    The table is replicated if the cluster has a Keeper and its nodes have the macros shard and
    replica.

    Raises TableError if a shard has several replicas that could not copy from one another, and
    EngineError if a node cannot be reached.
    """
    cluster = read_cluster(connection, name)
    database = str(connection.command("SELECT currentDatabase()"))
    placement = Placement(table, f"{table}_local", database, cluster)
    placement.check_reachable(connection, "no table can be created on all of them")
    macros = _macros(connection, placement)
    lacking = [node for node in cluster.places if {"shard", "replica"} - macros[node].keys()]
    if cluster.has_replicas:
        _check_replicas(cluster, lacking)
    is_replicated = cluster.has_keeper and not lacking
    if is_replicated:
        check_macros(cluster, macros)
    return Placement(
        table,
        placement.local,
        database,
        Cluster(name, cluster.nodes, cluster.has_keeper, is_replicated),
    )


def extend(connection: Connection, placement: Placement) -> None:
    """Create the database and the tables on nodes that lack them, such as a node that was added to
    the cluster later. If a node is down, this does nothing."""
    if placement.cluster is None or placement.unreachable(connection):
        return
    assert placement.database is not None
    places = len(placement.cluster.places)
    has_database = connection.command(
        f"SELECT count() FROM {placement.system('databases', replicas=True)} "
        f"WHERE name = {quote(placement.database)}"
    )
    if int(has_database) < places:
        placement.run(
            connection,
            f"CREATE DATABASE IF NOT EXISTS {backquote(placement.database)}{placement.on}",
        )
    names = [form.format(placement.table) for form in _TABLES]
    found = connection.query(
        "SELECT name, count() AS nodes, any(create_table_query) AS made "
        f"FROM {placement.system('tables', replicas=True)} "
        f"WHERE database = {quote(placement.database)} AND name IN {{names:Array(String)}} "
        "GROUP BY name",
        {"names": names},
    ).to_pylist()
    for table in sorted(found, key=lambda table: names.index(table["name"])):
        if table["nodes"] < places:
            placement.run(connection, on_every_node(placement, table["name"], table["made"]))


def on_every_node(placement: Placement, table: str, made: str) -> str:
    """Turn ``made``, a table's CREATE statement as the engine shows it, into one for all nodes."""
    _, bracket, rest = made.partition(" (")
    return f"CREATE TABLE IF NOT EXISTS {placement.sql(table)}{placement.on}{bracket}{rest}"


def _macros(connection: Connection, placement: Placement) -> dict[Node, dict[str, str]]:
    assert placement.cluster is not None
    found = connection.query(
        "SELECT _shard_num AS place, macro, substitution "
        f"FROM {placement.system('macros', replicas=True)} WHERE macro IN ('shard', 'replica')"
    ).to_pylist()
    macros: dict[Node, dict[str, str]] = {node: {} for node in placement.cluster.places}
    for row in found:
        macros[placement.cluster.places[row["place"] - 1]][row["macro"]] = row["substitution"]
    return macros


def _check_replicas(cluster: Cluster, lacking: Collection[Node]) -> None:
    why = f"cluster {cluster.name} keeps each shard on several nodes"
    if not cluster.has_keeper:
        raise TableError(
            f"{why}, which copy from one another through Keeper, and the server has none "
            "configured (zookeeper); set one up, or name a cluster of one node a shard"
        )
    if lacking:
        raise TableError(
            f"{why}, and {' and '.join(map(str, lacking))} has no macros shard and replica, which "
            "say which replica of which shard it is; set them in its configuration (macros)"
        )
    if not all(node.is_internal for node in cluster.nodes):
        raise TableError(
            f"{why} without internal_replication, so every row would be sent to each node "
            "and stored several times; set <internal_replication>true</internal_replication> "
            "for its shards"
        )


def check_macros(cluster: Cluster, macros: dict[Node, dict[str, str]]) -> None:
    """Check that nodes of one shard have the same macro shard and different macros replica, and
    that no two shards have the same macro shard.

    Raises TableError if not: the rows of one shard would be copied into another.
    """
    numbers: dict[str, set[int]] = defaultdict(set)
    seen: set[tuple[str, str]] = set()
    for node in cluster.places:
        shard, replica = macros[node]["shard"], macros[node]["replica"]
        numbers[shard].add(node.shard)
        if (shard, replica) in seen or len(numbers[shard]) > 1:
            raise TableError(
                f"cluster {cluster.name}: {node} has macros shard {shard} and replica {replica}, "
                "which another node has too; each shard needs a different name, and so does each "
                "replica of a shard"
            )
        seen.add((shard, replica))
    names = {
        node.shard: {macros[n]["shard"] for n in cluster.places if n.shard == node.shard}
        for node in cluster.places
    }
    for number, said in names.items():
        if len(said) > 1:
            raise TableError(
                f"cluster {cluster.name}: the nodes of shard {number} have different macros "
                f"shard ({' and '.join(sorted(said))}), so they would not copy from one another"
            )
