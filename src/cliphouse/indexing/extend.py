"""Extending the indexes of embeddings by rows that were loaded after they were built.

New rows are in parts of the table without a graph, which a search scans. So it finds them at once,
and misses none; a scan of few rows takes no time that anybody notices. But when the engine merges
the part that has the graph, the graph is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from cliphouse.indexing.build import IndexBuilder, existing_indexes
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.index_spec import Extension
from cliphouse.vocabulary import BuildProgress

_SCANNED_SHARE = 0.1  # of the rows, that searches may scan beside the graph
_BUILT_AT_ONCE = 20_000  # rows, whose graphs take some ten seconds on two cores


def extend_indexes(table: TableHandle, progress: BuildProgress | None = None) -> Extension | None:
    """Build the graphs that the table's indexes lack, if these are of more than a tenth of its
    rows, but not so many that it would take long; None if there is nothing to do.

    Raises EngineError if the engine cannot build them.
    """
    names = tuple(existing_indexes(table))
    if not names:
        return None
    rows, bare = _rows_without_graph(table, names)
    if bare <= _SCANNED_SHARE * rows:
        return None
    if bare > _BUILT_AT_ONCE:
        return Extension(names, bare, is_built=False)
    builder = IndexBuilder(table)
    for name in names:
        builder.materialize(name, progress)
    return Extension(names, bare, is_built=True)


def _rows_without_graph(table: TableHandle, names: Sequence[str]) -> tuple[int, int]:
    """The rows of the table, and how many of them are in parts without a graph.

    The engine says of a part only whether it has any index, be it one of captions.
    """
    placement = table.placement
    found = table.connection.rows(
        "SELECT sum(rows) AS total, sumIf(rows, secondary_indices_marks_bytes = 0) AS bare "
        f"FROM {placement.system('parts')} WHERE active AND {placement.is_rows}"
    )[0]
    builder = IndexBuilder(table)
    rows = int(found["total"] or 0)
    has_all = all(builder.graph_bytes(name) for name in names)
    return rows, int(found["bare"] or 0) if has_all else rows
