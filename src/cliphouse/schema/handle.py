"""One table, resolved once: what every function takes that reads it or writes to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cliphouse.cluster.placement import Placement, find_placement
from cliphouse.engine.connection import Connection
from cliphouse.engine.quoting import identifier
from cliphouse.errors import TableError
from cliphouse.schema.info import (
    Definition,
    TableInfo,
    describe_table,
    ledger_name,
    read_definition,
)
from cliphouse.schema.migrations import DESCRIPTION, LEDGER_RECORD
from cliphouse.wording import counted


@dataclass(frozen=True)
class TableHandle:
    """A table, the connection that reaches it, where its rows are, and what it was made with.

    ``columns`` are its columns in their order, with their SQL types, and ``ledger_version`` is that
    of its ledger, None if it has none. All of it is as it was when the table was resolved: to see
    what others have written since, resolve it again.
    """

    connection: Connection
    placement: Placement
    info: TableInfo
    columns: Mapping[str, str]
    ledger_version: int | None

    @property
    def name(self) -> str:
        return self.placement.table

    @property
    def sql(self) -> str:
        """The table's name quoted for SQL."""
        return identifier(self.name)

    def on(self, connection: Connection) -> TableHandle:
        """The same table through another connection, for another thread."""
        return replace(self, connection=connection)


def find_table(connection: Connection, name: str) -> TableHandle | None:
    """The table of this name; None if there is none.

    A table made by other hands, such as the guide's, is described by its columns and first row.

    Raises TableError if a newer release wrote it or its ledger, if it has no embeddings, or if its
    cluster is no longer in the server's configuration.
    """
    made = read_definition(connection, name)
    if made is None:
        return None
    ledger_version = _known_version(made, name)
    info = TableInfo.from_comment(made.comment, name)
    info = info or describe_table(connection, name, made.columns)
    placement = find_placement(connection, name)
    return TableHandle(connection, placement, info, made.columns, ledger_version)


def check_versions(connection: Connection, name: str) -> None:
    """Raises TableError if a newer release wrote the table or its ledger."""
    made = read_definition(connection, name)
    if made is not None:
        _known_version(made, name)


def _known_version(made: Definition, name: str) -> int | None:
    """The version of the table's ledger, None if it has none. Raises TableError if a newer release
    wrote the table or its ledger."""
    DESCRIPTION.version_of(made.comment, name)
    if made.ledger_comment is None:
        return None
    return LEDGER_RECORD.version_of(made.ledger_comment, ledger_name(name)) or 1


def open_table(connection: Connection, name: str) -> TableHandle:
    """The table of this name. Raises TableError if there is none, and as find_table does."""
    table = find_table(connection, name)
    if table is None:
        raise TableError(
            f"{connection.address.shown}: no table {name}; make it with: cliphouse ingest DIR"
        )
    return table


def described(table: TableHandle) -> str:
    """A few words on a table: its rows, the dimension of its vectors and their model."""
    (found,) = table.connection.rows(f"SELECT count() AS rows FROM {table.sql}")
    rows, info = counted(int(found["rows"]), "row"), table.info
    return f"{rows}, {info.dim} dimensions, model {info.model or 'unknown'}"
