"""The HNSW index: what it will take, building it, dropping it, and which rows have it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import psutil

from cliphouse.errors import EngineError, QueryError, TableError, UnreachableError
from cliphouse.table.connection import Connection, identifier
from cliphouse.table.facts import DISTANCE, Metric
from cliphouse.table.schema import Modality, TableInfo, embedding_column
from cliphouse.table.search import index_name

Quantization = Literal["bf16", "f32", "f16", "i8", "b1"]
Progress = Callable[[float], None]  # the finished share of the build, 0 to 1

ELEMENT_BYTES: dict[Quantization, float] = {"bf16": 2, "f32": 4, "f16": 2, "i8": 1, "b1": 1 / 8}
DEFAULT_M = 32
DEFAULT_EF_CONSTRUCTION = 128
_POLL_SECONDS = 0.2
# Builds of one index, among all that the engine may be changing in the table.
_OURS = (
    "database = currentDatabase() AND table = {table:String} "
    "AND match(command, concat('MATERIALIZE INDEX `?', {name:String}, '`?(?:\\\\W|$)'))"
)


@dataclass(frozen=True)
class IndexSpec:
    """Parameters of an HNSW index (Malkov and Yashunin 2016) under ClickHouse's names for them.

    Raises QueryError where one is out of range.
    """

    modality: Modality = "image"
    metric: Metric = "cosine"
    quantization: Quantization = "bf16"
    m: int = DEFAULT_M
    ef_construction: int = DEFAULT_EF_CONSTRUCTION

    def __post_init__(self) -> None:
        if not 2 <= self.m <= 1024 or not 2 <= self.ef_construction <= 10_000:
            raise QueryError("M must be 2 to 1024 and ef_construction 2 to 10000")

    @property
    def name(self) -> str:
        return index_name(self.modality, self.metric)

    def type_sql(self, dim: int) -> str:
        """The index type as it stands in SQL, and as the engine shows it again."""
        return (
            f"vector_similarity('hnsw', '{DISTANCE[self.metric]}', {dim}, "
            f"'{self.quantization}', {self.m}, {self.ef_construction})"
        )

    def memory_bytes(self, rows: int, dim: int) -> int:
        """Memory of the graph while it is built and while it is searched.

        rows x (dim x bytes an element + 8 M): vectors, and 2 M links of 4 bytes on the lowest
        layer, where nearly all links are.
        """
        return int(rows * (dim * ELEMENT_BYTES[self.quantization] + self.m * 8))


@dataclass(frozen=True)
class BuiltIndex:
    """An index that a build has finished. ``seconds`` is 0 where it was there already."""

    spec: IndexSpec
    rows: int
    memory_bytes: int
    seconds: float


@dataclass(frozen=True)
class IndexForecast:
    """What an index of ``rows`` rows will take, in bytes. ``available`` is what this machine, or
    the server's configuration, leaves for it (None where that cannot be told); ``cache`` is the
    size of the cache that keeps graphs in memory between searches."""

    spec: IndexSpec
    rows: int
    dim: int
    memory: int
    available: int | None
    cache: int | None

    @property
    def sum(self) -> str:
        """How the memory adds up."""
        bytes_each = ELEMENT_BYTES[self.spec.quantization]
        return (
            f"{self.rows:,} rows x ({self.dim} x {bytes_each:g} bytes + M {self.spec.m} x 8 bytes) "
            f"= {self.memory / 1e6:,.1f} MB"
        )

    def check(self) -> None:
        """Raises TableError where the graph does not fit."""
        if self.available is not None and self.memory > self.available:
            raise TableError(
                f"the graph does not fit into memory: {self.sum}, and {self.available / 1e6:,.0f} "
                "MB are free; take a smaller --m or --quantization i8, or more memory, or --force"
            )


def forecast(connection: Connection, rows: int, info: TableInfo, spec: IndexSpec) -> IndexForecast:
    """What ``spec`` will take of memory on a table of ``rows`` rows, and what there is."""
    limits = {
        row["name"]: int(row["value"])
        for row in connection.query(
            "SELECT name, value FROM system.server_settings WHERE name IN "
            "('max_server_memory_usage', 'vector_similarity_index_cache_size')"
        ).to_pylist()
    }
    available = limits.get("max_server_memory_usage") or None
    if connection.is_embedded:
        free = int(psutil.virtual_memory().available)
        available = free if available is None else min(free, available)
    return IndexForecast(
        spec,
        rows,
        info.dim,
        spec.memory_bytes(rows, info.dim),
        available,
        limits.get("vector_similarity_index_cache_size"),
    )


def existing_indexes(connection: Connection, table: str) -> dict[str, str]:
    """The table's vector indexes: name to type, as SQL."""
    found = connection.query(
        "SELECT name, type_full FROM system.data_skipping_indices "
        "WHERE database = currentDatabase() AND table = {table:String} "
        "AND type = 'vector_similarity'",
        {"table": table},
    ).to_pylist()
    return {row["name"]: row["type_full"] for row in found}


def build_index(
    connection: Connection,
    table: str,
    info: TableInfo,
    spec: IndexSpec,
    progress: Progress | None = None,
    force: bool = False,
) -> BuiltIndex:
    """Merge the table into one part, so that one graph holds all rows, and build the index.

    An index of the same name with other parameters is replaced. Rows loaded later are found by
    an exact scan until the index is built again.

    Raises TableError where the table has no such embedding or no rows, or its graph does not fit
    into memory and ``force`` is not given.
    """
    started = time.monotonic()
    _check(info, table, spec)
    rows = int(connection.command(f"SELECT count() FROM {identifier(table)}"))
    if rows == 0:
        raise TableError(f"table {table} is empty; ingest shards first")
    _check_lengths(connection, table, info, spec)
    if not force:
        forecast(connection, rows, info, spec).check()
    worked = _declare_and_merge(connection, table, info, spec)
    # The merge may have cost the other modality its graph: build what is not whole.
    for name in existing_indexes(connection, table):
        if not _is_whole(connection, table, name):
            before = _graph_bytes(connection, table, name)
            _materialize(connection, table, name, progress)
            worked = worked or _graph_bytes(connection, table, name) != before
    seconds = time.monotonic() - started if worked else 0.0
    return BuiltIndex(spec, rows, spec.memory_bytes(rows, info.dim), seconds)


def _declare_and_merge(
    connection: Connection, table: str, info: TableInfo, spec: IndexSpec
) -> bool:
    """Let the table have this index, and as few parts as it can; returns whether either had to be
    done. A table whose parts are merged already is merged again only to be rid of deleted rows: it
    would cost its graphs."""
    present = existing_indexes(connection, table).get(spec.name)
    if present is not None and not same_type(present, spec.type_sql(info.dim)):
        drop_index(connection, table, spec.modality, spec.metric)
        present = None
    deleted = _has_deleted_rows(connection, table)
    parts = _part_names(connection, table)
    connection.command(
        f"OPTIMIZE TABLE {identifier(table)} FINAL",
        settings={"optimize_skip_merged_partitions": int(not deleted)},
    )
    if present is None:
        connection.command(
            f"ALTER TABLE {identifier(table)} ADD INDEX {spec.name} "
            f"{embedding_column(spec.modality)} TYPE {spec.type_sql(info.dim)}"
        )
    return present is None or _part_names(connection, table) != parts


def drop_index(connection: Connection, table: str, modality: Modality, metric: Metric) -> bool:
    """Drop an index; returns whether there was one."""
    name = index_name(modality, metric)
    if name not in existing_indexes(connection, table):
        return False
    connection.command(f"ALTER TABLE {identifier(table)} DROP INDEX {name}")
    return True


def same_type(one: str, other: str) -> bool:
    """Whether two index types are the same but for spaces."""
    return re.sub(r"\s", "", one) == re.sub(r"\s", "", other)


def _check(info: TableInfo, table: str, spec: IndexSpec) -> None:
    if spec.modality not in info.modalities:
        raise TableError(f"table {table} has no {embedding_column(spec.modality)} to index")


def _check_lengths(connection: Connection, table: str, info: TableInfo, spec: IndexSpec) -> None:
    column = embedding_column(spec.modality)
    odd = connection.command(
        f"SELECT count() FROM {identifier(table)} WHERE length({column}) != {info.dim}"
    )
    if odd:
        raise TableError(
            f"table {table}: {int(odd):,} rows have a {column} of another length than {info.dim}, "
            f"which no index takes; delete them WHERE length({column}) != {info.dim}"
        )


def _has_deleted_rows(connection: Connection, table: str) -> bool:
    found = connection.query(
        "SELECT max(has_lightweight_delete) AS deleted FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = {table:String}",
        {"table": table},
    )
    return bool(found.column("deleted")[0].as_py())


def _is_whole(connection: Connection, table: str, name: str) -> bool:
    """Whether every part of the table surely has the graph. Parts only tell whether they have one
    of any index: with two of them, building again is what finds out, and costs nothing where
    nothing is missing."""
    marks = connection.query(
        "SELECT countIf(secondary_indices_marks_bytes = 0) AS bare FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = {table:String}",
        {"table": table},
    ).to_pylist()[0]
    only = len(existing_indexes(connection, table)) == 1
    return bool(only and marks["bare"] == 0 and _graph_bytes(connection, table, name))


def _graph_bytes(connection: Connection, table: str, name: str) -> int:
    built = connection.query(
        "SELECT data_compressed_bytes AS bytes FROM system.data_skipping_indices "
        "WHERE database = currentDatabase() AND table = {table:String} AND name = {name:String}",
        {"table": table, "name": name},
    )
    return int(built.column("bytes")[0].as_py()) if built.num_rows else 0


def _materialize(connection: Connection, table: str, name: str, progress: Progress | None) -> None:
    """Build the graphs that parts of the table lack, until all have theirs.

    The engine builds in the background, so that an interruption is heard: it stops the build, and
    nothing else that the engine is about. Parts whose graph is finished keep it, and the next
    build goes on with the others.
    """
    try:
        # A build that a killed process left goes on by itself when the database is opened.
        if not _pending(connection, table, name):
            connection.command(
                f"ALTER TABLE {identifier(table)} MATERIALIZE INDEX {name}",
                settings={"mutations_sync": 0},
            )
        parts = len(_part_names(connection, table))
        while pending := _pending(connection, table, name):
            if pending["reason"]:
                raise EngineError(f"index {name} could not be built: {pending['reason']}")
            if progress:
                left = pending["parts"] - _in_progress(connection, table)
                progress(max(0.0, 1 - left / max(1, parts)))
            time.sleep(_POLL_SECONDS)
    except UnreachableError:
        raise  # the build goes on there, and the next run waits for its end
    except BaseException:
        connection.command(f"KILL MUTATION WHERE {_OURS} SYNC", {"table": table, "name": name})
        raise


def _pending(connection: Connection, table: str, name: str) -> dict[str, Any]:
    """The parts that builds of the index have yet to go through, and why one failed; empty where
    none is pending."""
    found = connection.query(
        "SELECT count() AS mutations, sum(parts_to_do) AS parts, max(latest_fail_reason) AS reason "
        f"FROM system.mutations WHERE NOT is_done AND {_OURS}",
        {"table": table, "name": name},
    ).to_pylist()[0]
    return found if found["mutations"] else {}


def _in_progress(connection: Connection, table: str) -> float:
    """How many parts' worth of work is done in those at work now."""
    found = connection.query(
        "SELECT sum(progress) AS share FROM system.merges WHERE is_mutation "
        "AND database = currentDatabase() AND table = {table:String}",
        {"table": table},
    )
    return float(found.column("share")[0].as_py() or 0)


def _part_names(connection: Connection, table: str) -> list[str]:
    found = connection.query(
        "SELECT name FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = {table:String} ORDER BY name",
        {"table": table},
    )
    names: list[str] = found.column("name").to_pylist()
    return names
