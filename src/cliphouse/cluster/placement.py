"""Where a table's rows are: in one table, or in a local table on every node of a cluster.

On a cluster the table that people name is a Distributed table, which keeps no rows itself. It reads
from local tables on the shards and inserts into them. Queries of system tables (parts, indexes,
builds) then go to all shards, and statements that change the table to all nodes.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from cliphouse.engine.connection import Connection, Parameters
from cliphouse.engine.features import BALANCING, HEDGED, LOCAL_FIRST, SKIP_SHARDS
from cliphouse.engine.quoting import backquote, quote, settings_list
from cliphouse.errors import CliphouseError, EngineError, TableError

# A statement ON CLUSTER returns when every node has run it, however long a merge takes. That all
# nodes are up is checked before. A statement that a node may run later returns without waiting.
_WAITED_FOR = {"distributed_ddl_task_timeout": -1, "distributed_ddl_output_mode": "throw"}
_QUEUED = {
    "distributed_ddl_task_timeout": 20,
    "distributed_ddl_output_mode": "null_status_on_timeout",
}
_DISTRIBUTED = re.compile(r"Distributed\(\s*([^,]+?)\s*,\s*([^,]*?)\s*,\s*([^,)]+?)\s*[,)]")
_NODES = """
SELECT
    shard_num AS shard, host_name AS host, port, is_local,
    internal_replication AS is_internal,
    (SELECT count() FROM system.tables WHERE database = 'system' AND name = 'zookeeper') AS keepers
FROM system.clusters WHERE cluster = {cluster:String} ORDER BY shard, replica_num
"""


@dataclass(frozen=True)
class Node:
    """A server of a cluster, as the cluster's configuration names it.

    ``is_internal`` says that replicas copy rows from one another, so that an insert goes to only
    one of them.
    """

    shard: int
    host: str
    port: int
    is_local: bool
    is_internal: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Cluster:
    """A cluster of the server's configuration (remote_servers).

    ``is_replicated`` says that the table's rows are kept in ReplicatedMergeTree.
    """

    name: str
    nodes: tuple[Node, ...]
    has_keeper: bool
    is_replicated: bool

    @property
    def shards(self) -> int:
        return len({node.shard for node in self.nodes})

    @property
    def has_replicas(self) -> bool:
        """Whether some shard is on more than one node."""
        return len(self.nodes) > self.shards

    @property
    def places(self) -> tuple[Node, ...]:
        """One node for each server, even if the server has several shards."""
        servers: dict[tuple[str, int], Node] = {}
        for node in self.nodes:
            servers.setdefault((node.host, node.port), node)
        return tuple(servers.values())


@dataclass(frozen=True)
class Placement:
    """A table and where its rows are.

    On a single server ``local`` is the table itself, and ``database`` and ``cluster`` are None.
    """

    table: str
    local: str
    database: str | None = None
    cluster: Cluster | None = None

    @property
    def whole(self) -> str:
        """The name, as SQL, of the table to read from and insert into."""
        return self.sql(self.table)

    @property
    def rows(self) -> str:
        """The name, as SQL, of the table that holds the rows of a node."""
        return self.sql(self.local)

    @property
    def on(self) -> str:
        """The clause after the table's name in a statement for ``run``."""
        if self.cluster is None or not self.cluster.has_keeper:
            return ""
        return f" ON CLUSTER {quote(self.cluster.name)}"

    @property
    def shard(self) -> str:
        """The SQL of the number of the shard that a row of ``system`` comes from; of the node (see
        ``node_names``) if all replicas are asked."""
        return "1" if self.cluster is None else "_shard_num"

    @property
    def node_names(self) -> list[str]:
        """The nodes' names for people, in the order in which ``system`` numbers them if it asks all
        replicas. A single server has one empty name."""
        if self.cluster is None:
            return [""]
        return [f"shard {node.shard}, {node}" for node in self.cluster.places]

    @property
    def is_rows(self) -> str:
        """The condition that selects the table with the rows, on a system table with the columns
        database and table. It names the database, because on another node that is not the current
        one."""
        database = "currentDatabase()" if self.database is None else quote(self.database)
        return f"database = {database} AND table = {quote(self.local)}"

    def system(self, name: str, replicas: bool = False) -> str:
        """The SQL of a table of the database ``system`` on one replica of each shard, or on all."""
        if self.cluster is None:
            return f"system.{name}"
        function = "clusterAllReplicas" if replicas else "cluster"
        return f"{function}({quote(self.cluster.name)}, system.{name})"

    @property
    def every_node(self) -> str:
        """The SQL of the rows of all nodes, with each replica's; on a cluster alone."""
        assert self.cluster is not None
        return f"clusterAllReplicas({quote(self.cluster.name)}, {self.rows})"

    @property
    def insert_settings(self) -> dict[str, int | str]:
        """Settings with which an insert is acknowledged when the shards have its rows, and not
        already when one node has accepted them for sending."""
        if self.cluster is None:
            return {}
        return {"distributed_foreground_insert": 1, **self.steady}

    @property
    def consistent(self) -> str:
        """The SETTINGS clause of a query that must see rows inserted a moment ago: it asks the
        replicas that inserts go to, because the others copy them later."""
        return f" SETTINGS {settings_list(self.steady)}" if self.steady else ""

    @property
    def steady(self) -> dict[str, int | str]:
        """Settings with which all workers read and write the same replica of each shard."""
        if self.cluster is None or not self.cluster.has_replicas:
            return {}
        return {LOCAL_FIRST: 0, BALANCING: "in_order", HEDGED: 0}

    def beside(self, suffix: str) -> Placement:
        """The placement of another table on the same nodes, such as the ledger."""
        table = f"{self.table}_{suffix}"
        local = table if self.cluster is None else f"{table}_local"
        return Placement(table, local, self.database, self.cluster)

    def run(
        self,
        connection: Connection,
        sql: str,
        settings: Parameters | None = None,
        is_queued: bool = False,
    ) -> None:
        """Run a statement on every node.

        With ``is_queued``, a node that is down runs it later, if the cluster has a Keeper.

        Raises EngineError if a node refuses it or cannot be reached.
        """
        settings = dict(settings or {})
        if self.cluster is None:
            connection.command(sql, settings=settings)
        elif self.cluster.has_keeper:
            waiting = _QUEUED if is_queued else _WAITED_FOR
            connection.command(sql, settings=settings | waiting)
        else:
            places = self.cluster.places
            with ThreadPoolExecutor(len(places)) as pool:
                list(pool.map(lambda node: _run_on(connection, node, sql, settings), places))

    def settle(self, connection: Connection) -> None:
        """Wait until every replica has all rows that any replica has.

        Raises EngineError if one is down, because it may have rows that the others lack.
        """
        if self.cluster is None or not (self.cluster.is_replicated and self.cluster.has_replicas):
            return
        self.check_reachable(connection, "it is not known whether rows are missing")
        self.run(connection, f"SYSTEM SYNC REPLICA{self.on} {self.rows}")

    def unreachable(self, connection: Connection) -> tuple[Node, ...]:
        """The nodes that the server of ``connection`` cannot reach."""
        if self.cluster is None:
            return ()
        # With all replicas, each replica is numbered as a shard of its own.
        may_skip = connection.features.may_set(SKIP_SHARDS, 1)
        found = connection.query(
            f"SELECT DISTINCT _shard_num AS place FROM {self.system('one', replicas=True)}"
            + f" SETTINGS {SKIP_SHARDS} = 1" * may_skip
        )
        there = set(found.column("place").to_pylist())
        return tuple(n for place, n in enumerate(self.cluster.places, 1) if place not in there)

    def check_reachable(self, connection: Connection, why: str) -> None:
        """Check that every node can be reached.

        Raises EngineError if one cannot; ``why`` says in the message what that prevents.
        """
        if lost := self.unreachable(connection):
            assert self.cluster is not None
            raise EngineError(
                f"cluster {self.cluster.name}: {' and '.join(map(str, lost))} cannot be reached "
                f"from {connection.address.shown}, so {why}; try again when all nodes are up"
            )

    def sql(self, table: str) -> str:
        """The full name of a table in the same database, as SQL."""
        return (
            backquote(table)
            if self.database is None
            else f"{backquote(self.database)}.{backquote(table)}"
        )


def find_placement(connection: Connection, table: str) -> Placement:
    """Where ``table`` is. Distributed tables that other programs created are understood too.

    A table that does not exist is placed on this server alone.

    Raises TableError if its cluster is no longer in the server's configuration.
    """
    plain = Placement(table, table)
    if connection.is_embedded:
        return plain
    found = connection.query(
        "SELECT engine_full, database FROM system.tables "
        "WHERE database = currentDatabase() AND name = {name:String}",
        {"name": table},
    ).to_pylist()
    match = _DISTRIBUTED.match(found[0]["engine_full"]) if found else None
    if match is None:
        return plain
    name, database, local = (part.strip("'`\"") for part in match.groups())
    name = _without_macros(connection, name)
    database = database or found[0]["database"]
    engine = connection.query(
        "SELECT engine FROM system.tables "
        "WHERE database = {database:String} AND name = {name:String}",
        {"database": database, "name": local},
    ).to_pylist()
    is_replicated = bool(engine) and engine[0]["engine"].startswith("Replicated")
    return Placement(table, local, database, read_cluster(connection, name, is_replicated))


def insist_on_all_shards(connection: Connection) -> None:
    """Make queries fail if a shard is down, whatever the user's profile says.

    Raises TableError if the profile leaves such shards out and may not be overruled.
    """
    if connection.features.may_set(SKIP_SHARDS, 0):
        connection.keep_setting(SKIP_SHARDS, 0)
    elif connection.features.value(SKIP_SHARDS) == "1":
        raise TableError(
            f"{connection.address.shown}: this user's profile has {SKIP_SHARDS} = 1, which may not "
            "be changed: answers would silently lack the rows of a shard that is down; have it "
            "set to 0"
        )


def _without_macros(connection: Connection, name: str) -> str:
    """A cluster's name with its macros replaced: a table may name it '{cluster}'."""
    if "{" not in name:
        return name
    macros = connection.query("SELECT macro, substitution FROM system.macros").to_pylist()
    known = {row["macro"]: row["substitution"] for row in macros}
    return re.sub(r"\{(\w+)\}", lambda m: known.get(m[1], m[0]), name)


def read_cluster(connection: Connection, name: str, is_replicated: bool = False) -> Cluster:
    """Read a cluster from the server's configuration.

    Raises TableError if there is no such cluster; the message names those that there are.
    """
    nodes = connection.query(_NODES, {"cluster": name}).to_pylist()
    if not nodes:
        known = connection.query("SELECT DISTINCT cluster FROM system.clusters ORDER BY cluster")
        listed = ", ".join(known.column("cluster").to_pylist())
        raise TableError(
            f"{connection.address.shown}: no cluster {name} in its configuration (remote_servers); "
            + (f"there are {listed}" if listed else "there is none")
        )
    typed = tuple(
        Node(
            shard=node["shard"],
            host=node["host"],
            port=node["port"],
            is_local=bool(node["is_local"]),
            is_internal=bool(node["is_internal"]),
        )
        for node in nodes
    )
    return Cluster(name, typed, bool(nodes[0]["keepers"]), is_replicated)


def _run_on(connection: Connection, node: Node, sql: str, settings: Parameters) -> None:
    """Run a statement on one node over HTTP, with the user and port of --db."""
    try:
        with closing(connection.clone() if node.is_local else connection.at(node.host)) as there:
            there.command(sql, settings=settings)
    except CliphouseError as error:
        raise EngineError(
            f"the cluster has no Keeper, so each node gets the statement, and {node.host} failed: "
            f"{error}; run there: {sql}"
        ) from error
