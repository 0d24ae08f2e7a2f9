"""The HNSW index: what it will take, building it, dropping it, and which rows have it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import psutil

from cliphouse.cluster.placement import Placement, find_placement
from cliphouse.engine.connection import Connection, Parameters
from cliphouse.engine.quoting import identifier, quote
from cliphouse.errors import EngineError, QueryError, TableError, UnreachableError
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import DISTANCE
from cliphouse.schema.info import TableInfo
from cliphouse.search.planner import index_name
from cliphouse.vocabulary import BuildProgress, Metric, Modality, Quantization

ELEMENT_BYTES: dict[Quantization, float] = {"bf16": 2, "f32": 4, "f16": 2, "i8": 1, "b1": 1 / 8}
DEFAULT_M = 32
DEFAULT_EF_CONSTRUCTION = 128
_POLL_SECONDS = 0.2
_BEGIN_SECONDS = 60.0


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
    """What an index of ``rows`` rows, those of the largest of ``shards``, will take, in bytes.
    ``available`` is what this machine, or the server's configuration, leaves for it (None where
    that cannot be told); ``cache`` is the size of the cache that keeps graphs in memory between
    searches."""

    spec: IndexSpec
    rows: int
    dim: int
    memory: int
    available: int | None
    cache: int | None
    shards: int = 1

    @property
    def sum(self) -> str:
        """How the memory adds up."""
        bytes_each = ELEMENT_BYTES[self.spec.quantization]
        largest = f"the largest of {self.shards} shards: " if self.shards > 1 else ""
        return (
            f"{largest}{self.rows:,} rows x ({self.dim} x {bytes_each:g} bytes + "
            f"M {self.spec.m} x 8 bytes) = {self.memory / 1e6:,.1f} MB"
        )

    def check(self) -> None:
        """Raises TableError where the graph does not fit."""
        if self.available is not None and self.memory > self.available:
            raise TableError(
                f"the graph does not fit into memory: {self.sum}, and {self.available / 1e6:,.0f} "
                "MB are free; take a smaller --m or --quantization i8, or more memory, or --force"
            )


def forecast(connection: Connection, table: str, info: TableInfo, spec: IndexSpec) -> IndexForecast:
    """What ``spec`` will take of memory, and what there is: on a cluster, for the largest shard and
    on the node with least."""
    placement = find_placement(connection, table)
    shards = connection.query(
        f"SELECT {placement.shard} AS place, sum(rows) AS rows FROM {placement.system('parts')} "
        f"WHERE active AND {placement.is_rows} GROUP BY place"
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
        free = int(psutil.virtual_memory().available)
        available = free if available is None else min(free, available)
    return IndexForecast(
        spec,
        rows,
        info.dim,
        spec.memory_bytes(rows, info.dim),
        available,
        limits.get("vector_similarity_index_cache_size"),
        placement.cluster.shards if placement.cluster else 1,
    )


def existing_indexes(connection: Connection, table: str) -> dict[str, str]:
    """The table's vector indexes: name to type, as SQL; "" where a cluster's shards differ."""
    placement = find_placement(connection, table)
    found = connection.query(
        "SELECT name, groupUniqArray(type_full) AS types "
        f"FROM {placement.system('data_skipping_indices')} "
        f"WHERE {placement.is_rows} AND type = 'vector_similarity' GROUP BY name ORDER BY name"
    ).to_pylist()
    return {row["name"]: row["types"][0] if len(row["types"]) == 1 else "" for row in found}


def build_index(
    connection: Connection,
    table: str,
    info: TableInfo,
    spec: IndexSpec,
    progress: BuildProgress | None = None,
    force: bool = False,
) -> BuiltIndex:
    """Merge the table into one part (one on each shard), so that one graph holds all rows, and
    build the index.

    An index of the same name with other parameters is replaced. Rows loaded later are found by
    an exact scan until the index is built again.

    Raises TableError where the table has no such embedding or no rows, or its graph does not fit
    into memory and ``force`` is not given, and EngineError where a node of its cluster is down.
    """
    started = time.monotonic()
    _check(info, table, spec)
    placement = find_placement(connection, table)
    placement.check_reachable(connection, "no index can be built on all of them")
    rows = int(connection.command(f"SELECT count() FROM {identifier(table)}"))
    if rows == 0:
        raise TableError(f"table {table} is empty; ingest shards first")
    _check_lengths(connection, table, info, spec)
    expected = forecast(connection, table, info, spec)
    if not force:
        expected.check()
    builder = IndexBuilder(connection, placement, info)
    worked = builder.declare_and_merge(spec)
    # The merge may have cost the other modality its graph: build what is not whole.
    for name in existing_indexes(connection, table):
        if not builder.is_whole(name):
            before = builder.graph_bytes(name)
            builder.materialize(name, progress)
            worked = worked or builder.graph_bytes(name) != before
    seconds = time.monotonic() - started if worked else 0.0
    return BuiltIndex(spec, rows, expected.memory, seconds)


def drop_index(connection: Connection, table: str, modality: Modality, metric: Metric) -> bool:
    """Drop an index; returns whether there was one."""
    name = index_name(modality, metric)
    if name not in existing_indexes(connection, table):
        return False
    placement = find_placement(connection, table)
    placement.check_reachable(connection, "the index cannot be dropped from all of them")
    placement.run(
        connection, f"ALTER TABLE {placement.rows}{placement.on} DROP INDEX IF EXISTS {name}"
    )
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


@dataclass(frozen=True)
class _Pending:
    """What builds of an index have yet to do on one node, in parts, and why one failed."""

    parts: float
    reason: str


class IndexBuilder:
    """The steps of a build, on one server or on all shards of a cluster at once."""

    def __init__(self, connection: Connection, placement: Placement, info: TableInfo) -> None:
        self._connection = connection
        self._placement = placement
        self._info = info

    def declare_and_merge(self, spec: IndexSpec) -> bool:
        """Let the table have this index, and as few parts as it can; returns whether either had to
        be done. A table whose parts are merged already is merged again only to be rid of deleted
        rows: it would cost its graphs."""
        present = existing_indexes(self._connection, self._placement.table).get(spec.name)
        if present is not None and not same_type(present, spec.type_sql(self._info.dim)):
            drop_index(self._connection, self._placement.table, spec.modality, spec.metric)
            present = None
        deleted = self._has_deleted_rows()
        parts = self._part_names()
        self._run(
            "OPTIMIZE TABLE {rows}{on} FINAL",
            {"optimize_skip_merged_partitions": int(not deleted)},
        )
        # A node that came to the cluster later may lack what the others have.
        self._run(
            f"ALTER TABLE {{rows}}{{on}} ADD INDEX IF NOT EXISTS {spec.name} "
            f"{embedding_column(spec.modality)} TYPE {spec.type_sql(self._info.dim)}"
        )
        return present is None or self._part_names() != parts

    def is_whole(self, name: str) -> bool:
        """Whether every part of the table surely has the graph. Parts only tell whether they have
        one of any index: with two of them, building again is what finds out, and costs nothing
        where nothing is missing."""
        marks = self._connection.query(
            "SELECT countIf(secondary_indices_marks_bytes = 0) AS bare "
            f"FROM {self._placement.system('parts', replicas=True)} "
            f"WHERE active AND {self._placement.is_rows}"
        ).to_pylist()[0]
        only = len(existing_indexes(self._connection, self._placement.table)) == 1
        return bool(only and marks["bare"] == 0 and self.graph_bytes(name))

    def graph_bytes(self, name: str) -> int:
        built = self._connection.command(
            "SELECT sum(data_compressed_bytes) "
            f"FROM {self._placement.system('data_skipping_indices', replicas=True)} "
            f"WHERE {self._placement.is_rows} AND name = {quote(name)}"
        )
        return int(built)

    def materialize(self, name: str, progress: BuildProgress | None) -> None:
        """Build the graphs that parts of the table lack, until all have theirs.

        The engine builds in the background, so that an interruption is heard: it stops the build,
        and nothing else that the engine is about. Parts whose graph is finished keep it, and the
        next build goes on with the others.
        """
        try:
            # A build that a killed process left goes on by itself when the database is opened.
            if not self._pending(name):
                before = self._begun(name)
                self._run(
                    f"ALTER TABLE {{rows}}{{on}} MATERIALIZE INDEX {name}", {"mutations_sync": 0}
                )
                self._wait_until_begun(name, before)
            parts = self._parts()
            while pending := self._pending(name):
                for node in pending.values():
                    if node.reason:
                        raise EngineError(f"index {name} could not be built: {node.reason}")
                if progress:
                    progress(self._shares(parts, pending))
                time.sleep(_POLL_SECONDS)
        except UnreachableError:
            raise  # the build goes on there, and the next run waits for its end
        except BaseException:
            self._run(f"KILL MUTATION{{on}} WHERE {self._ours(name)} SYNC")
            raise

    def _wait_until_begun(self, name: str, before: dict[int, int]) -> None:
        """Until every node knows of the build: a replica learns of it from Keeper, a moment later.

        Raises EngineError where one does not for _BEGIN_SECONDS.
        """
        end = time.monotonic() + _BEGIN_SECONDS
        names = self._placement.node_names
        while True:
            now = self._begun(name)
            places = range(1, len(names) + 1)
            late = [names[p - 1] for p in places if now.get(p, 0) <= before.get(p, 0)]
            if not late:
                return
            if time.monotonic() > end:
                raise EngineError(
                    f"index {name}: {' and '.join(late)} has not begun to build it after "
                    f"{_BEGIN_SECONDS:.0f} seconds; is it in step with Keeper "
                    "and the other replicas? Run this again when it is"
                )
            time.sleep(_POLL_SECONDS)

    def _begun(self, name: str) -> dict[int, int]:
        """How many builds of the index each node knows, ended ones too."""
        return self._by_node("count() AS builds", "mutations", self._ours(name))

    def _shares(self, parts: dict[int, int], pending: dict[int, _Pending]) -> dict[str, float]:
        """The finished share of each node's build."""
        at_work = self._in_progress()
        names = self._placement.node_names
        shares = {}
        for place, count in sorted(parts.items()):
            left = pending[place].parts - at_work.get(place, 0.0) if place in pending else 0.0
            shares[names[place - 1]] = min(1.0, max(0.0, 1 - left / max(1, count)))
        return shares

    def _ours(self, name: str) -> str:
        """Builds of one index, among all that the engine may be changing in the table."""
        command = f"MATERIALIZE INDEX `?{name}`?(?:\\W|$)"
        return f"{self._placement.is_rows} AND match(command, {quote(command)})"

    def _pending(self, name: str) -> dict[int, _Pending]:
        """The nodes on which builds of the index are pending."""
        found = self._connection.query(
            f"SELECT {self._placement.shard} AS place, sum(parts_to_do) AS parts, "
            "max(latest_fail_reason) AS reason "
            f"FROM {self._placement.system('mutations', replicas=True)} "
            f"WHERE NOT is_done AND {self._ours(name)} GROUP BY place"
        ).to_pylist()
        return {row["place"]: _Pending(row["parts"], row["reason"]) for row in found}

    def _in_progress(self) -> dict[int, float]:
        """How many parts' worth of work is done in those at work now."""
        condition = f"is_mutation AND {self._placement.is_rows}"
        return self._by_node("sum(progress) AS share", "merges", condition)

    def _parts(self) -> dict[int, int]:
        """How many parts each node has."""
        return self._by_node("count() AS parts", "parts", f"active AND {self._placement.is_rows}")

    def _by_node(self, figure: str, table: str, condition: str) -> dict[int, Any]:
        """A figure (an expression with its name) of a system table, of each node that has it."""
        found = self._connection.query(
            f"SELECT {self._placement.shard} AS place, {figure} "
            f"FROM {self._placement.system(table, replicas=True)} "
            f"WHERE {condition} GROUP BY place"
        ).to_pylist()
        return {row["place"]: row[figure.rpartition(" AS ")[2]] for row in found}

    def _has_deleted_rows(self) -> bool:
        return bool(
            self._connection.command(
                f"SELECT max(has_lightweight_delete) FROM {self._placement.system('parts')} "
                f"WHERE active AND {self._placement.is_rows}"
            )
        )

    def _part_names(self) -> list[str]:
        found = self._connection.query(
            f"SELECT concat(toString({self._placement.shard}), ':', name) AS name "
            f"FROM {self._placement.system('parts')} "
            f"WHERE active AND {self._placement.is_rows} ORDER BY name"
        )
        names: list[str] = found.column("name").to_pylist()
        return names

    def _run(self, sql: str, settings: Parameters | None = None) -> None:
        placement = self._placement
        placement.run(self._connection, sql.format(rows=placement.rows, on=placement.on), settings)
