"""Measured figures kept with their table, for mode auto, and forgotten when they hold no longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cliphouse.errors import TableError
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import TableInfo, with_measured, write_info
from cliphouse.vocabulary import Measured, Metric, Modality


def keep_measured(table: TableHandle, measured: Sequence[Measured]) -> None:
    """Keep the figures with the table, in place of older ones of the same kind.

    Raises TableError if its comment, where they are kept, is its owner's.
    """
    info = with_measured(table.info, tuple(measured))
    if not write_info(table.connection, table.placement, info):
        raise TableError(
            f"table {table.name} has a comment of its own, where the figures are kept; "
            f"clear it with: ALTER TABLE {table.name} MODIFY COMMENT ''"
        )


def is_measured(
    info: TableInfo, modality: Modality, metric: Metric, ks: Sequence[int], mode: str
) -> bool:
    """Whether figures of ``mode`` are kept for each of ``ks`` and each kind of query."""
    known = {
        (entry.query, entry.k)
        for entry in info.measured
        if (entry.modality, entry.metric, entry.mode) == (modality, metric, mode)
    }
    return all((query, k) in known for query in info.modalities for k in ks)


def forget_measured(table: TableHandle, modality: Modality, metric: Metric) -> None:
    """Forget the figures of searches of ``modality`` by ``metric``: its index has changed."""
    measured = table.info.measured
    kept = tuple(e for e in measured if (e.modality, e.metric) != (modality, metric))
    if kept != measured:
        write_info(table.connection, table.placement, replace(table.info, measured=kept))
