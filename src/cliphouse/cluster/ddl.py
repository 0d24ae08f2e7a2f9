"""CREATE statements: one table on one server, or on a cluster a local and a Distributed one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from cliphouse.cluster.placement import Placement
from cliphouse.engine.connection import Connection
from cliphouse.engine.quoting import quote
from cliphouse.errors import TableError

_WINDOW = 10_000  # insert tokens that a table remembers, and for how long a Replicated one does
_WINDOW_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Layout:
    """A table of the project's: its columns and order as SQL, the settings of its engine, and the
    comment that it bears. ``sharding_key`` says by which hash a cluster's shard is chosen: a
    function of what a row is named by alone, so that a row sent again meets itself.

    ``made_with`` are settings of the CREATE statement.
    """

    columns: tuple[str, ...]
    order_by: str
    sharding_key: str
    comment: str
    settings: Mapping[str, int] = field(default_factory=dict)
    made_with: Mapping[str, int] = field(default_factory=dict)


def create_table(connection: Connection, placement: Placement, layout: Layout) -> None:
    """Make the table where it is not there yet. What is done on a whole cluster takes a while, so
    that it is asked first."""
    if placement.cluster and connection.command(f"EXISTS TABLE {placement.whole}"):
        return
    for statement in create_statements(placement, layout, uuid.uuid4().hex[:8]):
        placement.run(connection, statement, layout.made_with)
    if placement.cluster and not connection.command(f"EXISTS TABLE {placement.whole}"):
        raise TableError(
            f"{connection.address.shown} is no node of cluster {placement.cluster.name}, on whose "
            "nodes the table has been made; give one of them to --db"
        )


def create_statements(placement: Placement, layout: Layout, unique: str) -> list[str]:
    """The statements that make the table, each to be run everywhere.

    In Keeper a Replicated table has a path of its own, which ends in ``unique``: one that is made
    again does not meet what the dropped one has left, and its statement, as the engine shows it,
    can be run on a new node as it stands (a path with the table's {uuid} could not).
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
    """What lets the engine recognise an insert that comes twice by its token."""
    if engine == "MergeTree":
        return {"non_replicated_deduplication_window": _WINDOW}
    return {
        "replicated_deduplication_window": _WINDOW,
        "replicated_deduplication_window_seconds": _WINDOW_SECONDS,
    }
