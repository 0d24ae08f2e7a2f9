"""Builds the index of captions, on one server or on all shards of a cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cliphouse.errors import TableError
from cliphouse.indexing.build import IndexBuilder
from cliphouse.schema.caption_index import CAPTION_INDEX, caption_index_sql
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import read_granule
from cliphouse.vocabulary import BuildProgress


@dataclass(frozen=True)
class BuiltCaptionIndex:
    """The index of captions after a build, with its bytes on disk. ``seconds`` is 0 if all rows had
    it already."""

    rows: int
    disk_bytes: int
    seconds: float


def build_caption_index(
    table: TableHandle, progress: BuildProgress | None = None
) -> BuiltCaptionIndex:
    """Build the index for all rows that lack it. Rows loaded or merged later are found by reading
    their captions until it is built again.

    Raises TableError if the table has no captions or no rows, and EngineError if a node of its
    cluster is down.
    """
    started = time.monotonic()
    connection, placement = table.connection, table.placement
    if table.columns.get("caption") != "String":
        raise TableError(f"table {table.name} has no column caption of text to index")
    placement.check_reachable(connection, "no index can be built on all of them")
    rows = int(connection.command(f"SELECT count() FROM {table.sql}"))
    if rows == 0:
        raise TableError(f"table {table.name} is empty; ingest shards first")
    builder = IndexBuilder(table)
    before = builder.graph_bytes(CAPTION_INDEX)
    builder.declare(caption_index_sql(read_granule(connection, placement)))
    builder.materialize(CAPTION_INDEX, progress)
    after = builder.graph_bytes(CAPTION_INDEX)
    seconds = time.monotonic() - started if after != before else 0.0
    return BuiltCaptionIndex(rows, after, seconds)
