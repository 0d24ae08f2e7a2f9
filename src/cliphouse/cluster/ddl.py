"""Creates tables: one on a single server; on a cluster local tables and a Distributed one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from cliphouse.cluster.placement import Placement
from cliphouse.engine.connection import Connection
from cliphouse.engine.quoting import quote
from cliphouse.errors import TableError

_WINDOW = 10_000  # insert tokens that a table remembers; a Replicated one forgets them with time
_WINDOW_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Layout:
    """The definition of one of the project's tables: its columns and order as SQL, the settings of
    its engine, and its comment.

    ``sharding_key`` is the SQL expression by which a cluster chooses a row's shard. It depends only
    on what identifies the row, so that a row sent again goes to the same shard. ``made_with`` are
    settings of the CREATE statement.
    """

    columns: tuple[str, ...]
    order_by: str
    sharding_key: str
    comment: str
    settings: Mapping[str, int] = field(default_factory=dict)
    made_with: Mapping[str, int] = field(default_factory=dict)


def create_table(connection: Connection, placement: Placement, layout: Layout) -> None:
    """Create the table if it does not exist.

    On a cluster that is checked first, because statements on all nodes take a while.

    Raises TableError if the server is not a node of the cluster.
    """
    if placement.cluster and connection.command(f"EXISTS TABLE {placement.whole}"):
        return
    for statement in create_statements(placement, layout, uuid.uuid4().hex[:8]):
        placement.run(connection, statement, layout.made_with)
    if placement.cluster and not connection.command(f"EXISTS TABLE {placement.whole}"):
        raise TableError(
            f"{connection.address.shown} is not a node of cluster {placement.cluster.name}, on "
            "whose nodes the table was created; give one of them to --db"
        )


def create_statements(placement: Placement, layout: Layout, unique: str) -> list[str]:
    """The statements that create the table; each must be run on every node.

    A Replicated table has its own path in Keeper, which ends in ``unique``. So a table that is
    created again does not find what the dropped one left there. A path with the table's {uuid}
    would do the same, but then the statement that the engine shows could not be run on a new node.
    """
    if placement.cluster is None:
        return [_create(placement.whole, layout, "MergeTree", layout.comment)]
    assert placement.database is not None
    engine = "MergeTree"
    if placement.cluster.is_replicated:
        path = f"/clickhouse/tables/{placement.database}/{placement.local}/{unique}/{{shard}}"
        engine = f"ReplicatedMergeTree({quote(path)}, '{{replica}}')"
    whole = ", ".join(map(quote, (placement.cluster.name, placement.database, placement.local)))
    return [
        _create(
            placement.rows + placement.on,
            layout,
            engine,
            f"The rows of {placement.table} on this node",
        ),
        f"CREATE TABLE IF NOT EXISTS {placement.whole}{placement.on}\nAS {placement.rows}\n"
        f"ENGINE = Distributed({whole}, {layout.sharding_key})\n"
        f"COMMENT {quote(layout.comment)}",
    ]


def _create(name: str, layout: Layout, engine: str, comment: str) -> str:
    columns = ",\n".join(f"    {column}" for column in layout.columns)
    settings = {**layout.settings, **_tokens(engine)}
    listed = ", ".join(f"{name} = {value}" for name, value in settings.items())
    return (
        f"CREATE TABLE IF NOT EXISTS {name}\n(\n{columns}\n)\n"
        f"ENGINE = {engine}\nORDER BY {layout.order_by}\nSETTINGS {listed}\n"
        f"COMMENT {quote(comment)}"
    )


def _tokens(engine: str) -> dict[str, int]:
    """The settings with which the engine recognises a repeated insert by its token."""
    if engine == "MergeTree":
        return {"non_replicated_deduplication_window": _WINDOW}
    return {
        "replicated_deduplication_window": _WINDOW,
        "replicated_deduplication_window_seconds": _WINDOW_SECONDS,
    }
