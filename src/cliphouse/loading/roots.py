"""The roots that are kept with a table: those that its rows name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cliphouse.errors import TableError
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import TableInfo, read_comment, write_info
from cliphouse.schema.roots import rows_by_root
from cliphouse.shards.roots import Root, joined


def check_may_keep(table: TableHandle) -> None:
    """Raises TableError if the table's comment, where roots are kept, is its owner's."""
    comment = read_comment(table.connection, table.name)
    if comment and TableInfo.from_comment(comment, table.name) is None:
        raise _no_room(table)


def add_roots(table: TableHandle, roots: Sequence[Root], may_move: bool) -> None:
    """Keep ``roots`` with the table too; one that it knows at another place has moved.

    Raises TableError if one is at another place and not ``may_move``, or if the table's comment is
    its owner's.
    """
    known = {root.name: root for root in table.info.roots}
    for root in roots:
        old = known.get(root.name, root)
        if old != root and not may_move:
            raise TableError(
                f"table {table.name} has a root {root.name}, {old.place}, and that of these shards "
                f"is {root.place}; if it has moved, tell with: cliphouse sync --root "
                f"{root.name}=DIR; if it is another, load it into another table with --table"
            )
    _keep(table, joined(table.info.roots, roots))


def drop_swallowed(table: TableHandle, folder: Path, chosen: Root | None) -> None:
    """Forget roots within ``folder`` but the ``chosen`` one, if no row names them any more."""
    here = Root("", str(folder.resolve()))
    inner = [r for r in table.info.roots if r != chosen and here.holds(Path(r.place))]
    if inner:
        rows = rows_by_root(table)
        gone = [root for root in inner if not rows[root.name]]
        _keep(table, tuple(root for root in table.info.roots if root not in gone))


def _keep(table: TableHandle, roots: tuple[Root, ...]) -> None:
    if roots == table.info.roots:
        return
    if not write_info(table.connection, table.placement, replace(table.info, roots=roots)):
        raise _no_room(table)


def _no_room(table: TableHandle) -> TableError:
    return TableError(
        f"table {table.name} has a comment of its own, where the folder of the pictures is to be "
        f"kept; clear it with: ALTER TABLE {table.name} MODIFY COMMENT '', or name another table"
    )
