"""What a check offers to mend: rows that are marked as deleted, and a copied folder's links."""

from __future__ import annotations

from cliphouse.engine.address import Address, FolderAddress
from cliphouse.engine.copied import link_again
from cliphouse.errors import TableError
from cliphouse.schema.handle import TableHandle


def marked_as_deleted(table: TableHandle) -> int:
    """How many rows are marked as deleted but still in the table's files, where its index finds
    them; 0 if it has no index."""
    placement = table.placement
    where = f"WHERE {placement.is_rows}"
    (found,) = table.connection.query(
        "SELECT (SELECT max(has_lightweight_delete) "
        f"FROM {placement.system('parts')} {where} AND active) AS marked, "
        f"(SELECT sum(rows) FROM {placement.system('parts')} {where} AND active) AS rows, "
        f"(SELECT count() FROM {placement.system('data_skipping_indices')} {where} "
        "AND type = 'vector_similarity') AS indexes"
    ).to_pylist()
    if not (found["marked"] and found["indexes"]):
        return 0
    there = table.connection.command(f"SELECT count() FROM {table.sql}")
    return max(0, int(found["rows"]) - int(there))


def remove_deleted(table: TableHandle) -> int:
    """Write the parts anew that have rows marked as deleted, without them; returns how many rows
    these were."""
    count = marked_as_deleted(table)
    if count:
        placement = table.placement
        placement.run(
            table.connection,
            f"ALTER TABLE {placement.rows}{placement.on} APPLY DELETED MASK",
            {"mutations_sync": 2},
        )
    return count


def link_folder_again(address: Address) -> int:
    """Make the links that a copied database folder lacks; returns how many they were. Raises
    TableError if that cannot be done."""
    if not isinstance(address, FolderAddress) or not address.folder.is_dir():
        return 0
    try:
        return len(link_again(address.folder))
    except OSError as error:
        raise TableError(f"{address.shown}: cannot be linked again: {error}") from error
