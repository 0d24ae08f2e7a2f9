"""Forecasts the memory that an index needs, and reads how much is available."""

from __future__ import annotations

from dataclasses import dataclass

from cliphouse.errors import TableError
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.index_spec import ELEMENT_BYTES, IndexSpec
from cliphouse.wording import counted, size


@dataclass(frozen=True)
class IndexForecast:
    """The memory of an index, in bytes.

    ``rows`` are those of the largest of ``shards``. ``available`` is what this machine or the
    server's configuration leaves for the graph, None if that is unknown. ``cache`` is the size of
    the cache that keeps graphs in memory between searches.
    """

    spec: IndexSpec
    rows: int
    dim: int
    memory: int
    available: int | None
    cache: int | None
    shards: int = 1

    @property
    def sum(self) -> str:
        """The calculation of the memory, for people."""
        bytes_each = ELEMENT_BYTES[self.spec.quantization]
        largest = f"the largest of {self.shards} shards: " if self.shards > 1 else ""
        return (
            f"{largest}{counted(self.rows, 'row')} x ({self.dim} x {bytes_each:g} bytes + "
            f"M {self.spec.m} x 8 bytes) = {size(self.memory)}"
        )

    def check(self) -> None:
        """Raises TableError if the graph does not fit into memory."""
        if self.available is not None and self.memory > self.available:
            raise TableError(
                f"the graph does not fit into memory: {self.sum}, and "
                f"{size(self.available)} are free; use a smaller --m, --quantization "
                "i8, more memory, or --force"
            )


def forecast(table: TableHandle, spec: IndexSpec) -> IndexForecast:
    """The memory that ``spec`` needs and that is available: on a cluster, of the largest shard and
    of the node with the least memory."""
    connection, placement, dim = table.connection, table.placement, table.info.dim
    shards = connection.query(
        f"SELECT {placement.shard} AS place, count() AS rows FROM {table.sql} GROUP BY place"
    )
    rows = max(shards.column("rows").to_pylist(), default=0)
    limits = {
        row["name"]: int(row["value"])
        for row in connection.query(
            "SELECT name, minIf(toUInt64OrZero(value), toUInt64OrZero(value) > 0) AS value "
            f"FROM {placement.system('server_settings', replicas=True)} WHERE name IN "
            "('max_server_memory_usage', 'vector_similarity_index_cache_size') GROUP BY name"
        ).to_pylist()
    }
    available = limits.get("max_server_memory_usage") or None
    if connection.is_embedded:
        import psutil

        free = int(psutil.virtual_memory().available)
        available = free if available is None else min(free, available)
    return IndexForecast(
        spec,
        rows,
        dim,
        spec.memory_bytes(rows, dim),
        available,
        limits.get("vector_similarity_index_cache_size"),
        placement.cluster.shards if placement.cluster else 1,
    )
