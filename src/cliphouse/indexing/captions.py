"""Builds the indexes of captions, on one server or on all shards of a cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cliphouse.errors import TableError
from cliphouse.indexing.build import IndexBuilder
from cliphouse.schema.caption_index import caption_indexes
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import read_granule
from cliphouse.vocabulary import BuildProgress


@dataclass(frozen=True)
class BuiltCaptionIndex:
    """The indexes of captions after a build, with their bytes on disk. ``seconds`` is 0 if all rows
    had them already."""

    rows: int
    disk_bytes: int
    seconds: float


def build_caption_index(
    table: TableHandle, progress: BuildProgress | None = None
) -> BuiltCaptionIndex:
    """Build the indexes for all rows that lack them. Rows loaded or merged later are found by
    reading their captions until they are built again.

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
    has_text_index = connection.is_embedded or connection.features.has_text_index
    indexes = caption_indexes(read_granule(connection, placement), has_text_index)
    before = sum(map(builder.graph_bytes, indexes))
    for name, definition in indexes.items():
        builder.declare(definition)
        builder.materialize(name, progress)
    after = sum(map(builder.graph_bytes, indexes))
    seconds = time.monotonic() - started if after != before else 0.0
    return BuiltCaptionIndex(rows, after, seconds)
