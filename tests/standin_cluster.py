"""A stand-in for a cluster: the stand-in server (clickhouse_http.py) with clusters in its
configuration, and with a pretended Keeper.

The embedded engine really runs Distributed tables over shards that are itself: the shards of a
cluster all have the same tables. So that each seems to have rows of its own, a filter shows to each
shard only the rows that the sharding key sends there; parts are counted for the first shard alone.
What has no Keeper cannot run ON CLUSTER and Replicated tables: both are taken out of a statement
before the engine sees it, which is right as far as it goes, since all nodes are this one, and what
is run once is run everywhere. What comes of it on several real servers is not shown by this.

    python standin_cluster.py FOLDER USER PASSWORD CONFIG SHARDS
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import clickhouse_http

UP, DOWN = 9000, 1  # the engine takes its own port for itself; nothing listens on the other
_REPLICATED = re.compile(r"ReplicatedMergeTree\('[^']*\{shard\}[^']*', '\{replica\}'\)")
_WINDOWS = re.compile(
    r"replicated_deduplication_window = (\d+), replicated_deduplication_window_seconds = \d+"
)


def write_config(
    path: Path,
    clusters: Mapping[str, Sequence[Sequence[int]]],
    macros: Mapping[str, str] | None = None,
    is_internal: bool = True,
) -> Path:
    """A server's configuration with ``clusters``: each a list of shards, each shard a list of its
    replicas' ports."""
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


def _shard(ports: Sequence[int], is_internal: bool) -> str:
    replicas = "".join(
        f"<replica><host>127.0.0.1</host><port>{port}</port></replica>" for port in ports
    )
    internal = str(is_internal).lower()
    return f"<shard><internal_replication>{internal}</internal_replication>{replicas}</shard>"


def without_keeper(statement: str) -> str:
    """A statement for a cluster as one of its nodes runs it, but for Replicated tables."""
    statement = re.sub(r" ON CLUSTER '[^']*'", "", statement)
    statement = _REPLICATED.sub("MergeTree", statement)
    return _WINDOWS.sub(r"non_replicated_deduplication_window = \1", statement)


class ClusterEngine(clickhouse_http.Engine):
    """The engine as one that has ``shards`` shards."""

    shards = 1

    def run(self, request: Any, *more: Any) -> Any:
        request.query = without_keeper(request.query)
        if self.shards > 1:
            request.settings["additional_table_filters"] = _split(request.database, self.shards)
        if request.data is not None:
            # All shards' parts of a batch come into one table: by its token each but the first
            # would be taken for what is there already, by its contents it is known as what it is.
            request.settings.pop("insert_deduplication_token", None)
        return super().run(request, *more)


def _split(database: str, shards: int) -> str:
    here = "shardNum() = 0 OR shardNum() = 1 + {} % " + str(shards)
    filters = {
        f"{database}.laion_local": here.format("intHash64(id)"),
        f"{database}.laion_ledger_local": here.format("shard"),
        "system.parts": "shardNum() < 2",
    }
    return "{" + ", ".join(f"'{table}': '{sql}'" for table, sql in filters.items()) + "}"


def main(folder: str, user: str, password: str, config: str, shards: str, keeper: str) -> None:
    ClusterEngine.shards = int(shards)
    engine = ClusterEngine(f"{folder}?config-file={config}")
    view = "VIEW system.zookeeper AS SELECT '' AS name, '' AS path"
    made = f"CREATE {view}" if keeper == "keeper" else "DROP TABLE IF EXISTS system.zookeeper"
    engine.run(clickhouse_http.Request(made))
    clickhouse_http.Engine = lambda _: engine
    clickhouse_http.main(folder, user, password, config)


if __name__ == "__main__":
    main(*sys.argv[1:])
