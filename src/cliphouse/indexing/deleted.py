"""Rows that are marked as deleted: an index still finds them, until their parts are written anew.

A search by cliphouse leaves them out; plain SQL does without the index as long as there are any
(see cliphouse.search.user_sql). To write a part anew is to build its graph again.
"""

from __future__ import annotations

from cliphouse.schema.handle import TableHandle

_REMOVED_AT_ONCE = 2_000  # rows of the parts, whose graph takes less than a second on two cores


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
    """Write the parts anew that have rows marked as deleted, without them, and with their indexes;
    returns how many rows these were."""
    count = marked_as_deleted(table)
    if count:
        placement = table.placement
        placement.run(
            table.connection,
            f"ALTER TABLE {placement.rows}{placement.on} APPLY DELETED MASK",
            {"mutations_sync": 2},
        )
    return count


def remove_deleted_if_quick(table: TableHandle) -> int:
    """Do as remove_deleted does if the parts are so small that it takes no time that anybody
    notices; otherwise, and on a cluster, it is left to ``cliphouse check --repair``."""
    placement = table.placement
    if placement.cluster is not None:
        return 0
    (found,) = table.connection.rows(
        f"SELECT sum(rows) AS rows FROM {placement.system('parts')} "
        f"WHERE {placement.is_rows} AND active AND has_lightweight_delete"
    )
    return remove_deleted(table) if 0 < int(found["rows"] or 0) <= _REMOVED_AT_ONCE else 0
