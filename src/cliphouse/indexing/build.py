"""Builds and drops the HNSW index, on one server or on all shards of a cluster."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Literal

from cliphouse.engine.address import FolderAddress
from cliphouse.engine.connection import Parameters
from cliphouse.engine.embedded import free_room
from cliphouse.engine.quoting import quote
from cliphouse.errors import EngineError, TableError, UnreachableError
from cliphouse.indexing.forecast import forecast
from cliphouse.schema.caption_index import CAPTION_INDEXES
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import index_name
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.shards.disk import DiskError
from cliphouse.vocabulary import BuildProgress, Metric, Modality
from cliphouse.wording import counted, size

_POLL_SECONDS = 0.2
_BEGIN_SECONDS = 60.0
_ROOM = 1.1  # of a part's bytes, that the engine wants to be free before it begins to build


@dataclass(frozen=True)
class BuiltIndex:
    """An index after a build. ``seconds`` is 0 if the index existed already."""

    spec: IndexSpec
    rows: int
    memory_bytes: int
    seconds: float


@dataclass(frozen=True)
class TableIndex:
    """An index of any kind. ``type`` is as SQL has it, "" if a cluster's shards differ."""

    name: str
    type: str
    is_graph: bool
    graph_bytes: int
    disk_bytes: int


def read_indexes(table: TableHandle) -> list[TableIndex]:
    """The table's indexes, by name."""
    placement = table.placement
    found = table.connection.query(
        "SELECT name, if(uniqExact(type_full) = 1, any(type_full), '') AS types, "
        "any(type) = 'vector_similarity' AS is_graph, sum(data_uncompressed_bytes) AS bytes, "
        "sum(data_compressed_bytes) AS disk "
        f"FROM {placement.system('data_skipping_indices')} "
        f"WHERE {placement.is_rows} GROUP BY name ORDER BY name"
    ).to_pylist()
    return [
        TableIndex(row["name"], row["types"], bool(row["is_graph"]), row["bytes"], row["disk"])
        for row in found
    ]


def existing_indexes(table: TableHandle) -> dict[str, str]:
    """The table's vector indexes: name to type (see TableIndex)."""
    return {index.name: index.type for index in read_indexes(table) if index.is_graph}


def build_index(
    table: TableHandle,
    spec: IndexSpec,
    progress: BuildProgress | None = None,
    force: bool = False,
) -> BuiltIndex:
    """Build the index. First the table is merged into one part (one on each shard), so that one
    graph holds all rows.

    An index of the same name with other parameters is replaced. Rows loaded later are found by
    an exact scan until the index is built again.

    Raises TableError if the table has no such embedding or no rows, or if its graph does not fit
    into memory and ``force`` is not given, and EngineError if a node of its cluster is down.
    """
    started = time.monotonic()
    _check(table, spec)
    table.placement.check_reachable(table.connection, "no index can be built on all of them")
    rows = int(table.connection.command(f"SELECT count() FROM {table.sql}"))
    if rows == 0:
        raise TableError(f"table {table.name} is empty; ingest shards first")
    _check_lengths(table, spec)
    expected = forecast(table, spec)
    if not force:
        expected.check()
    builder = IndexBuilder(table)
    worked = builder.declare_and_merge(spec)
    # The merge may have removed the other indexes, so all of them are checked.
    for name in sorted(builder.all_indexes() & set(CAPTION_INDEXES)):
        builder.materialize(name, None)
    for name in existing_indexes(table):
        if not builder.is_whole(name):
            before = builder.graph_bytes(name)
            builder.materialize(name, progress)
            worked = worked or builder.graph_bytes(name) != before
    seconds = time.monotonic() - started if worked else 0.0
    return BuiltIndex(spec, rows, expected.memory, seconds)


def drop_index(
    table: TableHandle, what: Modality | Literal["captions"], metric: Metric = "cosine"
) -> bool:
    """Drop an index of embeddings, or those of captions, and return whether there was one."""
    names = set(CAPTION_INDEXES if what == "captions" else (index_name(what, metric),))
    builder = IndexBuilder(table)
    there = sorted(builder.all_indexes() & names)
    for name in there:
        builder.drop(name)
    return bool(there)


def same_type(one: str, other: str) -> bool:
    """Whether two index types are the same apart from spaces."""
    return re.sub(r"\s", "", one) == re.sub(r"\s", "", other)


def _check(table: TableHandle, spec: IndexSpec) -> None:
    if spec.modality not in table.info.modalities:
        raise TableError(f"table {table.name} has no {embedding_column(spec.modality)} to index")


def _check_lengths(table: TableHandle, spec: IndexSpec) -> None:
    dim, column = table.info.dim, embedding_column(spec.modality)
    odd = table.connection.command(
        f"SELECT count() FROM {table.sql} WHERE length({column}) != {dim}"
    )
    if odd:
        raise TableError(
            f"table {table.name}: {counted(int(odd), 'row')} with a {column} of another length "
            f"than {dim}, which an index cannot hold; delete them WHERE length({column}) != {dim}"
        )


@dataclass(frozen=True)
class _Pending:
    """The parts that builds of an index still have to do on one node, and why a build failed."""

    parts: float
    reason: str


class IndexBuilder:
    """The steps of a build, on one server or on all shards of a cluster together."""

    def __init__(self, table: TableHandle) -> None:
        self._table = table
        self._connection = table.connection
        self._placement = table.placement
        self._dim = table.info.dim

    def declare_and_merge(self, spec: IndexSpec) -> bool:
        """Declare the index and merge the table's parts; return whether either was necessary.

        A table whose parts are merged already is merged again only if it has deleted rows, because
        a merge removes the graphs.
        """
        present = existing_indexes(self._table).get(spec.name)
        if present is not None and not same_type(present, spec.type_sql(self._dim)):
            drop_index(self._table, spec.modality, spec.metric)
            present = None
        deleted = self._has_deleted_rows()
        parts = self._part_names()
        self._run(
            "OPTIMIZE TABLE {rows}{on} FINAL",
            {"optimize_skip_merged_partitions": int(not deleted)},
        )
        # A node that was added to the cluster later may lack the index.
        column, kind = embedding_column(spec.modality), spec.type_sql(self._dim)
        self.declare(f"{spec.name} {column} TYPE {kind}")
        return present is None or self._part_names() != parts

    def declare(self, index: str) -> None:
        """Declare an index, given as an ADD INDEX has it, on all nodes that lack it."""
        self._run(f"ALTER TABLE {{rows}}{{on}} ADD INDEX IF NOT EXISTS {index}")

    def drop(self, name: str) -> None:
        """Drop an index on all nodes. Raises EngineError if a node is down."""
        self._placement.check_reachable(
            self._connection, "the index cannot be dropped from all of them"
        )
        self._run(f"ALTER TABLE {{rows}}{{on}} DROP INDEX IF EXISTS {name}")

    def all_indexes(self) -> set[str]:
        """The names of the table's indexes of any kind, on any node."""
        found = self._connection.query(
            f"SELECT DISTINCT name FROM {self._placement.system('data_skipping_indices')} "
            f"WHERE {self._placement.is_rows}"
        )
        return set(found.column("name").to_pylist())

    def is_whole(self, name: str) -> bool:
        """Whether every part of the table is known to have the graph.

        The engine shows only whether a part has a graph of any index. With two indexes the answer
        is False: building again does nothing to parts that have their graph.
        """
        marks = self._connection.query(
            "SELECT countIf(secondary_indices_marks_bytes = 0) AS bare "
            f"FROM {self._placement.system('parts', replicas=True)} "
            f"WHERE active AND {self._placement.is_rows}"
        ).to_pylist()[0]
        only = len(self.all_indexes()) == 1
        return bool(only and marks["bare"] == 0 and self.graph_bytes(name))

    def graph_bytes(self, name: str) -> int:
        built = self._connection.command(
            "SELECT sum(data_compressed_bytes) "
            f"FROM {self._placement.system('data_skipping_indices', replicas=True)} "
            f"WHERE {self._placement.is_rows} AND name = {quote(name)}"
        )
        return int(built)

    def materialize(self, name: str, progress: BuildProgress | None) -> None:
        """Build the graphs that parts of the table lack, and wait until all parts have theirs.

        The engine builds in the background, so that this process can be interrupted. It then stops
        the build, and nothing else that the engine does. Parts with a finished graph keep it, and
        the next build continues with the others.
        """
        try:
            # The engine itself continues the build of a killed process when the database is opened.
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
                self._require_room()
                if progress:
                    progress(self._shares(parts, pending))
                time.sleep(_POLL_SECONDS)
        except UnreachableError:
            raise  # the server continues the build, and the next run waits for its end
        except BaseException:
            self._run(f"KILL MUTATION{{on}} WHERE {self._ours(name)} SYNC")
            raise

    def _wait_until_begun(self, name: str, before: dict[int, int]) -> None:
        """Wait until every node knows of the build: a replica learns of it from Keeper.

        Raises EngineError if a node does not know of it after _BEGIN_SECONDS.
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
                    f"index {name}: {' and '.join(late)} did not begin to build it within "
                    f"{_BEGIN_SECONDS:.0f} seconds; check its connection to Keeper and the other "
                    "replicas, and run this again"
                )
            time.sleep(_POLL_SECONDS)

    def _require_room(self) -> None:
        """Raises DiskError if an embedded build waits for room: the engine says nothing, and begins
        no part that is larger than the free room by its measure."""
        address = self._connection.address
        if not isinstance(address, FolderAddress) or self._in_progress():
            return
        largest = self._connection.command(
            "SELECT max(bytes_on_disk) FROM system.parts "
            f"WHERE active AND {self._placement.is_rows}"
        )
        needed, free = int(largest or 0) * _ROOM, free_room(address)
        if needed > free:
            raise DiskError(
                f"{address.shown}: the disk is full: {size(free)} free, and the build "
                f"needs {size(needed)}; make room, and run the same command again"
            )

    def _begun(self, name: str) -> dict[int, int]:
        """The number of builds of the index that each node knows, with those that have ended."""
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
        """The condition that selects builds of one index among all mutations of the table."""
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
        """The work done on parts that are being built now, in parts."""
        condition = f"is_mutation AND {self._placement.is_rows}"
        return self._by_node("sum(progress) AS share", "merges", condition)

    def _parts(self) -> dict[int, int]:
        """The number of parts of each node."""
        return self._by_node("count() AS parts", "parts", f"active AND {self._placement.is_rows}")

    def _by_node(self, figure: str, table: str, condition: str) -> dict[int, Any]:
        """Query a figure (an SQL expression and its name) of a system table, by node."""
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
