"""Summarises a table: rows, shards, disk by column, indexes and measured recall."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from cliphouse.cluster.placement import Node, Placement
from cliphouse.engine.connection import Connection
from cliphouse.indexing.build import read_indexes
from cliphouse.loading.lease import ActiveLoad, read_load_status
from cliphouse.schema.caption_index import CAPTION_INDEXES
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import read_granule
from cliphouse.schema.roots import rows_by_root
from cliphouse.vocabulary import Measured


@dataclass(frozen=True)
class ColumnSize:
    """A column, its type and its bytes on disk."""

    name: str
    type: str
    disk_bytes: int


@dataclass(frozen=True)
class IndexSize:
    """A vector index, its type, and the bytes of memory that it needs in use."""

    name: str
    type: str
    memory_bytes: int


@dataclass(frozen=True)
class NodeSize:
    """A node of a cluster, the shard of which it is a replica, and its rows and bytes, which are 0
    if it cannot be reached."""

    name: str
    shard: int
    is_reachable: bool
    rows: int
    disk_bytes: int


@dataclass(frozen=True)
class RootSize:
    """A root, its folder, whether that is there on this machine, and the rows that name it."""

    name: str
    place: str
    is_there: bool
    rows: int


@dataclass(frozen=True)
class TableSummary:
    """The figures of a table.

    ``loading`` are shards that workers are loading now, ``unfinished`` those whose load was
    interrupted. On a cluster the figures are of one replica of each shard that can be reached;
    ``nodes`` lists all nodes. ``engine`` is ClickHouse's version, ``lacking`` describes the
    features that it lacks, and ``forbidden`` are the settings of searches that this user may not
    change. ``granule`` is the number of rows that the engine reads together, 0 if it is not known.
    ``caption_index_bytes`` is what the indexes of captions take on disk, 0 if there are none.
    ``roots`` are the folders that the table follows.
    """

    database: str
    table: str
    rows: int
    parts: int
    disk_bytes: int
    model: str | None
    dim: int
    precision: str
    modalities: tuple[str, ...]
    shards: int
    loading: tuple[ActiveLoad, ...]
    unfinished: tuple[int, ...]
    first_load: datetime | None
    last_load: datetime | None
    columns: tuple[ColumnSize, ...]
    indexes: tuple[IndexSize, ...]
    measured: tuple[Measured, ...]
    cluster: str | None = None
    nodes: tuple[NodeSize, ...] = ()
    engine: str = ""
    lacking: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    granule: int = 0
    caption_index_bytes: int = 0
    roots: tuple[RootSize, ...] = ()


def summarise(table: TableHandle) -> TableSummary:
    """Read the engine's figures about ``table``: on a cluster those of all shards that can be
    reached."""
    lost = table.placement.unreachable(table.connection)
    if not lost:
        return _summarise(table, lost)
    with closing(table.connection.without_dead_shards()) as reachable:
        return _summarise(table.on(reachable), lost)


def _summarise(table: TableHandle, lost: Sequence[Node]) -> TableSummary:
    connection, placement, info = table.connection, table.placement, table.info
    totals = connection.query(
        "SELECT count() AS parts, sum(bytes_on_disk) AS bytes "
        f"FROM {placement.system('parts')} WHERE active AND {placement.is_rows}"
    ).to_pylist()[0]
    columns = connection.query(
        "SELECT name, any(type) AS kind, sum(data_compressed_bytes) AS bytes "
        f"FROM {placement.system('columns')} WHERE {placement.is_rows} "
        "GROUP BY name ORDER BY min(position)"
    ).to_pylist()
    indexes = read_indexes(table)
    loads = read_load_status(table)
    times = [entry.at for entry in loads.entries.values() if entry.at is not None]
    return TableSummary(
        database=connection.address.shown,
        table=table.name,
        # system.parts still counts deleted rows that no merge has removed yet.
        rows=int(connection.command(f"SELECT count() FROM {table.sql}")),
        parts=totals["parts"],
        disk_bytes=totals["bytes"] or 0,
        model=info.model,
        dim=info.dim,
        precision=info.precision,
        modalities=info.modalities,
        shards=len(loads.entries),
        loading=loads.loading,
        unfinished=loads.unfinished,
        first_load=min(times, default=None),
        last_load=max(times, default=None),
        columns=tuple(ColumnSize(c["name"], c["kind"], c["bytes"]) for c in columns),
        indexes=tuple(
            IndexSize(index.name, index.type, index.graph_bytes)
            for index in indexes
            if index.is_graph
        ),
        measured=info.measured,
        cluster=placement.cluster.name if placement.cluster else None,
        nodes=_nodes(connection, placement, lost),
        engine=connection.features.version,
        lacking=tuple(connection.features.lacking),
        forbidden=tuple(connection.features.forbidden),
        granule=read_granule(connection, placement),
        caption_index_bytes=sum(i.disk_bytes for i in indexes if i.name in CAPTION_INDEXES),
        roots=_roots(table),
    )


def _roots(table: TableHandle) -> tuple[RootSize, ...]:
    rows = rows_by_root(table)
    return tuple(
        RootSize(root.name, root.place, root.is_there, rows[root.name]) for root in table.info.roots
    )


def _nodes(
    connection: Connection, placement: Placement, lost: Sequence[Node]
) -> tuple[NodeSize, ...]:
    if placement.cluster is None:
        return ()
    found = connection.query(
        "SELECT _shard_num AS place, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, "
        "max(has_lightweight_delete) AS has_deleted "
        f"FROM {placement.system('parts', replicas=True)} "
        f"WHERE active AND {placement.is_rows} GROUP BY place"
    ).to_pylist()
    sizes = {row["place"]: (row["rows"], row["bytes"]) for row in found}
    if any(row["has_deleted"] for row in found):  # which the parts count, until they are merged
        counted = connection.query(
            f"SELECT _shard_num AS place, count() AS rows FROM {placement.every_node} "
            "GROUP BY place"
        ).to_pylist()
        there = {row["place"]: row["rows"] for row in counted}
        sizes = {place: (there.get(place, 0), size) for place, (_, size) in sizes.items()}
    return tuple(
        NodeSize(str(node), node.shard, node not in lost, *sizes.get(place, (0, 0)))
        for place, node in enumerate(placement.cluster.places, 1)
    )
