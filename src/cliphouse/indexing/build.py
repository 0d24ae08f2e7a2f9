"""Building the HNSW index, on one server or on all shards of a cluster, and dropping it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from cliphouse.engine.connection import Parameters
from cliphouse.engine.quoting import quote
from cliphouse.errors import EngineError, TableError, UnreachableError
from cliphouse.indexing.forecast import forecast
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import index_name
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.vocabulary import BuildProgress, Metric, Modality
from cliphouse.wording import counted

_POLL_SECONDS = 0.2
_BEGIN_SECONDS = 60.0


@dataclass(frozen=True)
class BuiltIndex:
    """An index that a build has finished. ``seconds`` is 0 where it was there already."""

    spec: IndexSpec
    rows: int
    memory_bytes: int
    seconds: float


def existing_indexes(table: TableHandle) -> dict[str, str]:
    """The table's vector indexes: name to type, as SQL; "" where a cluster's shards differ."""
    placement = table.placement
    found = table.connection.query(
        "SELECT name, groupUniqArray(type_full) AS types "
        f"FROM {placement.system('data_skipping_indices')} "
        f"WHERE {placement.is_rows} AND type = 'vector_similarity' GROUP BY name ORDER BY name"
    ).to_pylist()
    return {row["name"]: row["types"][0] if len(row["types"]) == 1 else "" for row in found}


def build_index(
    table: TableHandle,
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
    # The merge may have cost the other modality its graph: build what is not whole.
    for name in existing_indexes(table):
        if not builder.is_whole(name):
            before = builder.graph_bytes(name)
            builder.materialize(name, progress)
            worked = worked or builder.graph_bytes(name) != before
    seconds = time.monotonic() - started if worked else 0.0
    return BuiltIndex(spec, rows, expected.memory, seconds)


def drop_index(table: TableHandle, modality: Modality, metric: Metric) -> bool:
    """Drop an index; returns whether there was one."""
    name = index_name(modality, metric)
    if name not in existing_indexes(table):
        return False
    connection, placement = table.connection, table.placement
    placement.check_reachable(connection, "the index cannot be dropped from all of them")
    placement.run(
        connection, f"ALTER TABLE {placement.rows}{placement.on} DROP INDEX IF EXISTS {name}"
    )
    return True


def same_type(one: str, other: str) -> bool:
    """Whether two index types are the same but for spaces."""
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
            f"than {dim}, which no index takes; delete them WHERE length({column}) != {dim}"
        )


@dataclass(frozen=True)
class _Pending:
    """What builds of an index have yet to do on one node, in parts, and why one failed."""

    parts: float
    reason: str


class IndexBuilder:
    """The steps of a build, on one server or on all shards of a cluster at once."""

    def __init__(self, table: TableHandle) -> None:
        self._table = table
        self._connection = table.connection
        self._placement = table.placement
        self._dim = table.info.dim

    def declare_and_merge(self, spec: IndexSpec) -> bool:
        """Let the table have this index, and as few parts as it can; returns whether either had to
        be done. A table whose parts are merged already is merged again only to be rid of deleted
        rows: it would cost its graphs."""
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
        # A node that came to the cluster later may lack what the others have.
        self._run(
            f"ALTER TABLE {{rows}}{{on}} ADD INDEX IF NOT EXISTS {spec.name} "
            f"{embedding_column(spec.modality)} TYPE {spec.type_sql(self._dim)}"
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
        only = len(existing_indexes(self._table)) == 1
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
