"""Dropping a table with its ledger."""

from __future__ import annotations

from dataclasses import dataclass

from cliphouse.engine.quoting import identifier
from cliphouse.errors import TableError
from cliphouse.loading.lease import read_load_status
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import LEDGER_SUFFIX


@dataclass(frozen=True)
class DroppedTable:
    """A table that was dropped, and the rows that it had."""

    name: str
    rows: int


def drop_table(table: TableHandle) -> DroppedTable:
    """Drop a table and its ledger, on all nodes of its cluster.

    A kill in between leaves a ledger whose table is gone, which the next `ingest` voids.

    Raises TableError if somebody is loading into the table.
    """
    connection, placement = table.connection, table.placement
    loading = read_load_status(table).loading
    if loading:
        raise TableError(
            f"table {table.name}: {loading[0].describe()} is being loaded; drop it when that has "
            "ended"
        )
    placement.check_reachable(connection, "the table cannot be dropped on all of them")
    rows = int(connection.command(f"SELECT count() FROM {identifier(table.name)}"))
    for one in (placement, placement.beside(LEDGER_SUFFIX)):
        for name in dict.fromkeys((one.whole, one.rows)):
            one.run(connection, f"DROP TABLE IF EXISTS {name}{one.on} SYNC")
    return DroppedTable(table.name, rows)
