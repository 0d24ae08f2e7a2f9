"""The rows that an export writes, read in batches so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from cliphouse.engine.quoting import backquote
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.roots import local_url_sql
from cliphouse.search.condition import Condition, explained
from cliphouse.shards.numbering import ID_BITS
from cliphouse.vocabulary import Modality, Progress

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Part:
    """The chosen rows of one shard."""

    shard: int
    rows: int


class ChosenRows:
    """The chosen rows of a table, in the order of their ids.

    ``parts`` counts them by shard. A format calls ``advance`` after each piece that it has written;
    ``done`` is the sum, which the exporter compares with ``total``.

    Raises ConditionError if the engine does not take ``condition``.
    """

    def __init__(
        self,
        table: TableHandle,
        condition: Condition,
        progress: Progress | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self.table = table
        self.columns = tuple(table.columns)
        self._condition = condition
        self._progress = progress
        self._batch_rows = batch_rows
        self.parts = self._count()
        self.total = sum(part.rows for part in self.parts)
        self.done = 0

    def batches(self, columns: Sequence[str], part: Part | None = None) -> Iterator[pa.Table]:
        """Read ``columns`` of one part, or of all rows, a batch at a time.

        BFloat16 comes as float32, and text that is not valid UTF-8 as binary. Each batch begins
        with the id after the last one's. WITH TIES keeps the rows of one id together: in a table
        of the guide's own ids each id occurs in every file.
        """
        chosen = ", ".join(f"{self.plain(name)} AS {backquote(name)}" for name in columns)
        after, parameters = "", dict(self._condition.parameters)
        while True:
            batch = self._query(
                f"SELECT {chosen}, toInt128(id) AS cursor {self._source(part, after)} "
                f"ORDER BY id LIMIT {self._batch_rows} WITH TIES",
                parameters,
            )
            if batch.num_rows == 0:
                return
            after = "AND id > {after:Int128}"
            parameters["after"] = int.from_bytes(
                batch.column("cursor")[-1].as_buffer().to_pybytes(), "little", signed=True
            )
            yield _as_binary(batch.drop_columns("cursor"))

    def stream(
        self,
        file: BinaryIO,
        expressions: Sequence[str],
        part: Part,
        layout: str,
        settings: str = "",
    ) -> None:
        """Write ``expressions`` (SQL) of the rows of a part to ``file``.

        ``layout`` is the engine's name of a format, such as CSV, and ``settings`` the statement's
        SETTINGS clause.
        """
        sql = f"SELECT {', '.join(expressions)} {self._source(part)} ORDER BY id {settings}"
        with explained(self._condition, sql):
            for chunk in self.table.connection.stream(sql, layout, self._condition.parameters):
                file.write(chunk)

    def plain(self, name: str) -> str:
        """The SQL of a column as other programs know it: BFloat16 becomes Float32, and a url in a
        root the path of its file."""
        if self.table.columns[name] == "Array(BFloat16)":
            return f"CAST({backquote(name)}, 'Array(Float32)')"
        return local_url_sql(self.table) if name == "url" else backquote(name)

    def advance(self, rows: int) -> None:
        """Count ``rows`` more as written, and report it to the caller of the export."""
        self.done += rows
        if self._progress:
            self._progress(self.done, self.total)

    def _source(self, part: Part | None, after: str = "") -> str:
        """The chosen rows of a part, as a statement names them behind SELECT."""
        chosen = f"FROM {self.table.sql} WHERE {_is_of(part)} AND {self._condition.sql} {after}"
        # In a statement of its own, the condition's url is the column, and not the path.
        return f"FROM (SELECT * {chosen})" if self.table.info.roots else chosen

    def _count(self) -> tuple[Part, ...]:
        found = self._query(
            f"SELECT bitShiftRight(id, {ID_BITS}) AS shard, count() AS rows "
            f"FROM {self.table.sql} WHERE {self._condition.sql} GROUP BY shard ORDER BY shard",
            self._condition.parameters,
        )
        return tuple(Part(row["shard"], row["rows"]) for row in found.to_pylist())

    def _query(self, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        with explained(self._condition, sql):
            return self.table.connection.query(sql, parameters)


def vectors_of(batch: pa.Table, modality: Modality) -> NDArray[np.float32]:
    """The embeddings of a batch as float32 of shape (rows, dim)."""
    lists = batch.column(embedding_column(modality)).combine_chunks()
    vectors: NDArray[np.float32] = lists.flatten().to_numpy().reshape(len(lists), -1)
    return vectors


def _is_of(part: Part | None) -> str:
    if part is None:
        return "1"
    return f"id BETWEEN {part.shard << ID_BITS} AND {((part.shard + 1) << ID_BITS) - 1}"


def _as_binary(batch: pa.Table) -> pa.Table:
    """Text that is not valid UTF-8 as binary, so that parquet can keep its every byte."""
    import pyarrow as pa

    for index, field in enumerate(batch.schema):
        column = batch.column(index)
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        if pa.types.is_string(column.type):
            try:
                column.validate(full=True)
            except pa.ArrowInvalid:
                column = column.cast(pa.binary())
        batch = batch.set_column(index, field.name, column)
    return batch
