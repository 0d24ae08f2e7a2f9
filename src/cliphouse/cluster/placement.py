"""Where a table's rows lie: in one table, or in one on every node of a cluster.

On a cluster the table that people name is a Distributed one, which keeps nothing; it reads from,
and inserts into, local tables on the shards. What is told of tables (their parts, indexes, builds)
is then asked of all shards, and what changes them is run on all nodes.
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

# A statement ON CLUSTER is waited for until every node has run it, however long a merge takes: it
# is asked before whether all are up. One that a node may run later is not waited for.
_WAITED_FOR = {"distributed_ddl_task_timeout": -1, "distributed_ddl_output_mode": "throw"}
_QUEUED = {
    "distributed_ddl_task_timeout": 20,
    "distributed_ddl_output_mode": "null_status_on_timeout",
}
_DISTRIBUTED = re.compile(r"Distributed\(\s*([^,]+?)\s*,\s*([^,]*?)\s*,\s*([^,)]+?)\s*[,)]")
_NODES = """
SELECT
    shard_num AS shard, replica_num AS replica, host_name AS host, port, is_local,
    internal_replication AS is_internal,
    (SELECT count() FROM system.tables WHERE database = 'system' AND name = 'zookeeper') AS keepers
FROM system.clusters WHERE cluster = {cluster:String} ORDER BY shard, replica
"""


@dataclass(frozen=True)
class Node:
    """A server of a cluster, as the cluster's configuration names it. ``is_internal`` says that
    replicas copy rows among themselves, so that an insert goes to one of them."""

    shard: int
    replica: int
    host: str
    port: int
    is_local: bool
    is_internal: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Cluster:
    """A cluster of the server's configuration (remote_servers). ``is_replicated`` says that the
    table's rows are kept in ReplicatedMergeTree."""

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
        """One node for each server, however many shards it is named for."""
        servers: dict[tuple[str, int], Node] = {}
        for node in self.nodes:
            servers.setdefault((node.host, node.port), node)
        return tuple(servers.values())


@dataclass(frozen=True)
class Placement:
    """A table and where its rows are. On one server ``local`` is the table itself, and ``database``
    and ``cluster`` are None."""

    table: str
    local: str
    database: str | None = None
    cluster: Cluster | None = None

    @property
    def whole(self) -> str:
        """The table that is read and inserted into, as SQL."""
        return self.sql(self.table)

    @property
    def rows(self) -> str:
        """The table that holds rows on a node, as SQL."""
        return self.sql(self.local)

    @property
    def on(self) -> str:
        """What stands behind the table's name in a statement for ``run``."""
        if self.cluster is None or not self.cluster.has_keeper:
            return ""
        return f" ON CLUSTER {quote(self.cluster.name)}"

    @property
    def shard(self) -> str:
        """The number of the shard, or among all replicas of the node (see ``node_names``), that a
        row of ``system`` is of, as SQL."""
        return "1" if self.cluster is None else "_shard_num"

    @property
    def node_names(self) -> list[str]:
        """What people call the nodes, in the order in which ``system`` numbers them where it asks
        all replicas; one without a name on one server."""
        if self.cluster is None:
            return [""]
        return [f"shard {node.shard}, {node}" for node in self.cluster.places]

    @property
    def is_rows(self) -> str:
        """The condition on a system table, by its columns database and table, that picks the table
        with the rows. The database is written out: on another node it is not the current one."""
        database = "currentDatabase()" if self.database is None else quote(self.database)
        return f"database = {database} AND table = {quote(self.local)}"

    def system(self, name: str, replicas: bool = False) -> str:
        """A table of the database ``system``, asked of one replica of each shard, or of all."""
        if self.cluster is None:
            return f"system.{name}"
        function = "clusterAllReplicas" if replicas else "cluster"
        return f"{function}({quote(self.cluster.name)}, system.{name})"

    @property
    def insert_settings(self) -> dict[str, int | str]:
        """An insert is acknowledged when the shards have its rows, not when one node has promised
        to send them on."""
        if self.cluster is None:
            return {}
        return {"distributed_foreground_insert": 1, **self.steady}

    @property
    def consistent(self) -> str:
        """The end of a query that must see what was inserted a moment ago: it asks the replicas
        that inserts go to, since the others come after."""
        return f" SETTINGS {settings_list(self.steady)}" if self.steady else ""

    @property
    def steady(self) -> dict[str, int | str]:
        """Settings by which all workers read and write the same replica of each shard."""
        if self.cluster is None or not self.cluster.has_replicas:
            return {}
        return {LOCAL_FIRST: 0, BALANCING: "in_order", HEDGED: 0}

    def beside(self, suffix: str) -> Placement:
        """Another table in the same places, such as the ledger."""
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
        """Run a statement on every node. ``is_queued`` lets a node that is down run it later, where
        there is a Keeper to remember it.

        Raises EngineError where a node refuses it or cannot be reached.
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
        """Return when every replica has all rows that any has.

        Raises EngineError where one is down: what it alone has cannot be told.
        """
        if self.cluster is None or not (self.cluster.is_replicated and self.cluster.has_replicas):
            return
        self.check_reachable(connection, "whether rows are missing cannot be told")
        self.run(connection, f"SYSTEM SYNC REPLICA{self.on} {self.rows}")

    def unreachable(self, connection: Connection) -> tuple[Node, ...]:
        """The nodes that the one asked cannot reach."""
        if self.cluster is None:
            return ()
        # Of all replicas each counts as a shard of its own, in their order.
        may_skip = connection.features.may_set(SKIP_SHARDS, 1)
        found = connection.query(
            f"SELECT DISTINCT _shard_num AS place FROM {self.system('one', replicas=True)}"
            + f" SETTINGS {SKIP_SHARDS} = 1" * may_skip
        )
        there = set(found.column("place").to_pylist())
        return tuple(n for place, n in enumerate(self.cluster.places, 1) if place not in there)

    def check_reachable(self, connection: Connection, why: str) -> None:
        """Raises EngineError where a node cannot be reached; ``why`` says what comes of it."""
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
    """Where ``table`` is; one that is not there would be on this server alone. Distributed tables
    that others have made are understood as well.

    Raises TableError where its cluster is no more in the server's configuration.
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
    """Let no answer be without the rows of a shard that is down, whatever the user's profile says.

    Raises TableError where it says so and may not be overruled.
    """
    if connection.features.may_set(SKIP_SHARDS, 0):
        connection.keep_setting(SKIP_SHARDS, 0)
    elif connection.features.value(SKIP_SHARDS) == "1":
        raise TableError(
            f"{connection.address.shown}: this user's profile has {SKIP_SHARDS} = 1, which may not "
            "be changed, so that rows of a shard that is down would be left out unsaid; have it "
            "set to 0"
        )


def _without_macros(connection: Connection, name: str) -> str:
    """A cluster's name that a table has as '{cluster}'."""
    if "{" not in name:
        return name
    macros = connection.query("SELECT macro, substitution FROM system.macros").to_pylist()
    known = {row["macro"]: row["substitution"] for row in macros}
    return re.sub(r"\{(\w+)\}", lambda m: known.get(m[1], m[0]), name)


def read_cluster(connection: Connection, name: str, is_replicated: bool = False) -> Cluster:
    """Raises TableError, naming those there are, where the server knows no such cluster."""
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
            replica=node["replica"],
            host=node["host"],
            port=node["port"],
            is_local=bool(node["is_local"]),
            is_internal=bool(node["is_internal"]),
        )
        for node in nodes
    )
    return Cluster(name, typed, bool(nodes[0]["keepers"]), is_replicated)


def _run_on(connection: Connection, node: Node, sql: str, settings: Parameters) -> None:
    """Without a Keeper: over HTTP, as the server named by --db is spoken to."""
    try:
        with closing(connection.clone() if node.is_local else connection.at(node.host)) as there:
            there.command(sql, settings=settings)
    except CliphouseError as error:
        raise EngineError(
            f"cluster has no Keeper, so each node is asked by itself, and {node.host} failed: "
            f"{error}; run there: {sql}"
        ) from error
