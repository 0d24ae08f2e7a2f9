"""What a table holds: rows, shards, disk by column, indexes and measured recall."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cliphouse.table.connection import Connection, identifier
from cliphouse.table.index import existing_indexes
from cliphouse.table.ledger import Entry, Ledger
from cliphouse.table.schema import Measured, TableInfo


@dataclass(frozen=True)
class ColumnSize:
    """A column, its type and its bytes on disk."""

    name: str
    type: str
    disk_bytes: int


@dataclass(frozen=True)
class IndexSize:
    """A vector index, its type and its bytes in memory when in use."""

    name: str
    type: str
    memory_bytes: int


@dataclass(frozen=True)
class TableSummary:
    """A table in figures. ``unfinished`` are shards whose load was cut off. ``engine`` is
    ClickHouse's version, ``lacking`` what it has not for this project, in words, and ``forbidden``
    the settings of searches that this user may not change."""

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
    unfinished: tuple[int, ...]
    first_load: datetime | None
    last_load: datetime | None
    columns: tuple[ColumnSize, ...]
    indexes: tuple[IndexSize, ...]
    measured: tuple[Measured, ...]
    engine: str = ""
    lacking: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()


def summarise(connection: Connection, table: str, info: TableInfo) -> TableSummary:
    """Read the engine's own figures about ``table``."""
    totals = connection.query(
        "SELECT sum(rows) AS rows, count() AS parts, sum(bytes_on_disk) AS bytes "
        "FROM system.parts WHERE active AND database = currentDatabase() AND table = {t:String}",
        {"t": table},
    ).to_pylist()[0]
    columns = connection.query(
        "SELECT name, type, data_compressed_bytes AS bytes FROM system.columns "
        "WHERE database = currentDatabase() AND table = {t:String} ORDER BY position",
        {"t": table},
    ).to_pylist()
    graphs = connection.query(
        "SELECT name, data_uncompressed_bytes AS bytes FROM system.data_skipping_indices "
        "WHERE database = currentDatabase() AND table = {t:String}",
        {"t": table},
    ).to_pylist()
    sizes = {graph["name"]: graph["bytes"] for graph in graphs}
    entries = _entries(connection, table)
    times = [entry.at for entry in entries if entry.at is not None]
    return TableSummary(
        database=connection.address.shown,
        table=table,
        # Rows deleted but not merged away yet are still in system.parts, so the table is asked.
        rows=int(connection.command(f"SELECT count() FROM {identifier(table)}")),
        parts=totals["parts"],
        disk_bytes=totals["bytes"] or 0,
        model=info.model,
        dim=info.dim,
        precision=info.precision,
        modalities=info.modalities,
        shards=len(entries),
        unfinished=tuple(entry.shard for entry in entries if entry.state != "done"),
        first_load=min(times, default=None),
        last_load=max(times, default=None),
        columns=tuple(ColumnSize(c["name"], c["type"], c["bytes"]) for c in columns),
        indexes=tuple(
            IndexSize(name, kind, sizes.get(name, 0))
            for name, kind in existing_indexes(connection, table).items()
        ),
        measured=info.measured,
        engine=connection.features.version,
        lacking=tuple(connection.features.lacking),
        forbidden=tuple(connection.features.forbidden),
    )


def _entries(connection: Connection, table: str) -> list[Entry]:
    ledger = Ledger(connection, table)
    return list(ledger.read().values()) if ledger.exists() else []
