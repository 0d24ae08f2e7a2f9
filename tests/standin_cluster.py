"""A stand-in for a cluster: the stand-in server (clickhouse_http.py) with clusters in its
configuration, and with a pretended Keeper.

The embedded engine really runs Distributed tables over shards that are itself: the shards of a
cluster all have the same tables. So that each seems to have rows of its own, a filter shows to each
shard only the rows that the sharding key sends there; parts are counted for the first shard alone.
What has no Keeper cannot run ON CLUSTER and Replicated tables: both are taken out of a statement
before the engine sees it, which is right as far as it goes, since all nodes are this one, and what
is run once is run everywhere. What comes of it on several real servers is not shown by this.

    SHARDS=2 KEEPER=yes STATEMENTS=FILE python standin_cluster.py FOLDER USER PASSWORD --config FILE

where FILE (see write_config) names each shard as the same host and port.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import clickhouse_http
from standin.process import StandIn
from standin.users import OWNER, User

Clusters = Mapping[str, Sequence[Sequence[int | str]]]
UP, DOWN = 9000, 1  # the engine takes its own port for itself; nothing listens on the other
# Whose queries leave out shards that are down, unless they say otherwise.
SKIPPING = User("skipping", "sk1pping", profile=(("skip_unavailable_shards", "1"),))
MACROS = {"shard": "01", "replica": "r1"}
TWO: Clusters = {"two": [[UP], [UP]]}
TWO_SHARDS: dict[str, Any] = {"clusters": TWO, "shards": 2, "macros": MACROS}
_REPLICATED = re.compile(r"ReplicatedMergeTree\('[^']*\{shard\}[^']*', '\{replica\}'\)")
_VERIFYING = re.compile(r"cliphouse_verify_[0-9a-f]{8}")  # the tables of tools/verify_server.py
_WINDOWS = re.compile(
    r"replicated_deduplication_window = (\d+), replicated_deduplication_window_seconds = \d+"
)


def write_config(
    path: Path,
    clusters: Clusters,
    macros: Mapping[str, str] | None = None,
    is_internal: bool = True,
) -> Path:
    """A server's configuration with ``clusters``: each a list of shards, each shard a list of its
    replicas: ports of this host, or hosts."""
    listed = "".join(
        f"<{name}>{''.join(_shard(ports, is_internal) for ports in shards)}</{name}>"
        for name, shards in clusters.items()
    )
    known = "".join(f"<{name}>{value}</{name}>" for name, value in (macros or {}).items())
    path.write_text(
        f"<clickhouse><tcp_port>{UP}</tcp_port><remote_servers>{listed}</remote_servers>"
        f"<macros>{known}</macros></clickhouse>"
    )
    return path


def _shard(replicas: Sequence[int | str], is_internal: bool) -> str:
    """``localhost`` is this node by another name, which makes it look like another."""
    named = (("127.0.0.1", r) if isinstance(r, int) else (r, UP) for r in replicas)
    listed = "".join(
        f"<replica><host>{host}</host><port>{port}</port></replica>" for host, port in named
    )
    internal = str(is_internal).lower()
    return f"<shard><internal_replication>{internal}</internal_replication>{listed}</shard>"


def without_keeper(statement: str) -> str:
    """A statement for a cluster as one of its nodes runs it, but for Replicated tables."""
    statement = re.sub(r" ON CLUSTER '[^']*'", "", statement)
    statement = _REPLICATED.sub("MergeTree", statement)
    return _WINDOWS.sub(r"non_replicated_deduplication_window = \1", statement)


class ClusterEngine(clickhouse_http.Engine):
    """The engine as that of a cluster's node. The environment says how many shards there are
    (SHARDS), whether there is a Keeper (KEEPER) and where statements are noted (STATEMENTS)."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._shards = int(os.environ["SHARDS"])
        self._statements = Path(os.environ["STATEMENTS"])
        self._keep_open.query("DROP VIEW IF EXISTS system.zookeeper")
        if os.environ["KEEPER"] == "yes":
            self._keep_open.query("CREATE VIEW system.zookeeper AS SELECT '' AS name, '' AS path")

    def run(self, request: Any, *more: Any) -> Any:
        if " ON CLUSTER " in request.query:
            with self._statements.open("a") as stream:
                stream.write(f"{request.query}\0")
        request.query = without_keeper(request.query)
        if self._shards > 1:
            names = {"laion", *_VERIFYING.findall(request.query)}
            request.settings["additional_table_filters"] = _split(
                request.database, names, self._shards
            )
        return super().run(request, *more)


def _split(database: str, names: Collection[str], shards: int) -> str:
    here = "shardNum() = 0 OR shardNum() = 1 + {} % " + str(shards)
    filters = {"system.parts": "shardNum() < 2"}
    for name in names:
        filters[f"{database}.{name}_local"] = here.format("intHash64(id)")
        filters[f"{database}.{name}_ledger_local"] = here.format("shard")
    return "{" + ", ".join(f"'{table}': '{sql}'" for table, sql in filters.items()) + "}"


class StandInCluster(StandIn):
    """A server whose configuration has ``clusters`` (see write_config); the table's is of
    ``shards`` shards. Its users are OWNER and SKIPPING."""

    def __init__(
        self,
        folder: Path,
        clusters: Clusters,
        shards: int = 1,
        has_keeper: bool = True,
        macros: Mapping[str, str] | None = None,
        is_internal: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = write_config(folder / "config.xml", clusters, macros, is_internal)
        self._statements = folder / "statements"
        environment = os.environ | {
            "SHARDS": str(shards),
            "KEEPER": "yes" if has_keeper else "no",
            "STATEMENTS": str(self._statements),
        }
        super().__init__(
            folder, (OWNER, SKIPPING), config=config, environment=environment, script=Path(__file__)
        )

    def statements(self) -> list[str]:
        """The statements ON CLUSTER that came in since they were last asked for."""
        found = self._statements.read_text() if self._statements.exists() else ""
        self._statements.unlink(missing_ok=True)
        return found.split("\0")[:-1]


if __name__ == "__main__":
    clickhouse_http.Engine = ClusterEngine
    clickhouse_http.main(*sys.argv[1:])
