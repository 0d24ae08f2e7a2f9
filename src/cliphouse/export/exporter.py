"""The table, or part of it, as files: the guide's CSV, shards, parquet, JSON lines, or a list of
pictures for img2dataset. Memory is bounded by a batch, and files appear whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cliphouse.engine.features import VALID_JSON
from cliphouse.engine.quoting import backquote, identifier
from cliphouse.errors import EngineError, QueryError, TableError
from cliphouse.schema.columns import COLUMNS, embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.search.condition import Condition, every, explained, typed_condition
from cliphouse.shards import ShardWriter
from cliphouse.shards.guide_csv import CSV_COLUMNS
from cliphouse.shards.manifest import Manifest, write_manifest
from cliphouse.shards.reader import ID_BITS
from cliphouse.vocabulary import Progress

ExportFormat = Literal["csv", "shards", "parquet", "jsonl", "img2dataset"]
BATCH_ROWS = 10_000


@dataclass(frozen=True)
class ExportReport:
    """The files that were written, and their rows."""

    files: tuple[Path, ...]
    rows: int


@dataclass(frozen=True)
class _Part:
    """The chosen rows of one shard."""

    shard: int
    rows: int


class Exporter:
    """Writes rows of a table in id order: all of them, those that meet ``where`` (SQL), or those
    with the given ``ids``."""

    def __init__(
        self,
        table: TableHandle,
        where: str | None = None,
        ids: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._connection = table.connection
        self._table = table.name
        self._info = table.info
        self._types = table.columns
        self._columns = list(self._types)
        chosen = every(typed_condition(where, self._columns), _of_ids(ids))
        self._condition = chosen or Condition("1")
        self._progress = progress
        self._done = 0
        self._total = 0

    def write(self, chosen: ExportFormat, output: Path) -> ExportReport:
        """Write to ``output``: a folder for csv and shards (N.csv or shard files for each shard),
        a file for the others.

        Raises TableError where no row is chosen, or the table lacks a column the format needs, and
        ConditionError if the engine does not take ``where``.
        """
        parts = self._parts()
        self._total = sum(part.rows for part in parts)
        if not self._total:
            raise TableError(f"table {self._table}: no rows to export")
        writers: dict[ExportFormat, Callable[[Path, list[_Part]], list[Path]]] = {
            "csv": self._csv,
            "shards": self._shards,
            "parquet": lambda path, _: self._parquet(path, self._columns),
            "img2dataset": lambda path, _: self._parquet(path, self._picture_list()),
            "jsonl": self._jsonl,
        }
        if chosen not in writers:
            raise QueryError(f"format {chosen!r}: it must be one of {', '.join(writers)}")
        files = tuple(writers[chosen](output, parts))
        if self._done != self._total:
            raise EngineError(
                f"table {self._table}: {self._done:,} rows written where {self._total:,} were "
                "counted: has it changed meanwhile? Export it again"
            )
        return ExportReport(files, self._total)

    def _csv(self, folder: Path, parts: list[_Part]) -> list[Path]:
        """What the guide's process.py writes, a file a shard, but for the quotes it takes out."""
        if lacking := set(CSV_COLUMNS) - set(self._columns):
            raise TableError(f"table {self._table} has no {min(lacking)}, which the CSV needs")
        number = f"bitAnd(id, {(1 << ID_BITS) - 1})"
        chosen = ", ".join((number, *map(self._plain, CSV_COLUMNS)))
        paths = []
        for part in parts:
            path = folder / f"{part.shard}.csv"
            with _whole_file(path) as stream:
                self._stream(stream, chosen, _of_shard(part.shard), "CSV")
            paths.append(path)
            self._advance(part.rows)
        return paths

    def _jsonl(self, path: Path, parts: list[_Part]) -> list[Path]:
        """One JSON object a line, NaN as null."""
        may_set = self._connection.features.may_set(VALID_JSON, 1)
        settings = f"SETTINGS {VALID_JSON} = 1" if may_set else ""
        names = self._columns
        chosen = ", ".join(self._plain(n) if may_set else self._valid(n) for n in names)
        with _whole_file(path) as stream:
            for part in parts:
                self._stream(stream, chosen, _of_shard(part.shard), "JSONEachRow", settings)
                self._advance(part.rows)
        return [path]

    def _parquet(self, path: Path, columns: Sequence[str]) -> list[Path]:
        with _whole_file(path) as stream:
            writer: pq.ParquetWriter | None = None
            for batch in self._batches("1", columns):
                writer = writer or pq.ParquetWriter(stream, batch.schema)
                writer.write_table(batch)
                self._advance(batch.num_rows)
            if writer is not None:
                writer.close()
        return [path]

    def _shards(self, folder: Path, parts: list[_Part]) -> list[Path]:
        """Shards in clip-retrieval's layout: float16 where that keeps every bit, else float32."""
        if "image" not in self._info.modalities:
            raise TableError(f"table {self._table} has no image_embedding, which shards need")
        if parts[0].shard < 0:
            raise TableError(f"table {self._table} has negative ids, which are no rows of a shard")
        if any(folder.glob("**/metadata_*.parquet")) or any(folder.glob("**/*_emb_*.npy")):
            raise TableError(f"{folder}: holds shards already; name another folder")
        dtype: Literal["float16", "float32"] = "float16" if self._fits_float16() else "float32"
        with_text = "text" in self._info.modalities
        vectors = {embedding_column(modality) for modality in self._info.modalities}
        described = [name for name in self._columns if name not in {"id", *vectors}]
        paths = []
        for part in parts:
            with ShardWriter(folder, part.shard, self._info.dim, with_text, dtype) as writer:
                for batch in self._batches(_of_shard(part.shard), self._columns):
                    text = _vectors(batch, "text") if with_text else None
                    writer.append(_vectors(batch, "image"), text, batch.select(described))
                    self._advance(batch.num_rows)
            paths.append(folder / "metadata" / f"metadata_{part.shard}.parquet")
        if self._info.model:
            write_manifest(folder, Manifest(self._info.model, self._info.dim))
        return paths

    def _fits_float16(self) -> bool:
        columns = [embedding_column(modality) for modality in self._info.modalities]
        for batch in self._batches("1", ["id", *columns]):
            for modality in self._info.modalities:
                vectors = _vectors(batch, modality)
                with np.errstate(over="ignore"):
                    if not np.array_equal(vectors.astype(np.float16).astype(np.float32), vectors):
                        return False
        return True

    def _parts(self) -> list[_Part]:
        found = self._query(
            f"SELECT bitShiftRight(id, {ID_BITS}) AS shard, count() AS rows "
            f"FROM {identifier(self._table)} WHERE {self._condition.sql} "
            "GROUP BY shard ORDER BY shard",
            self._condition.parameters,
        )
        return [_Part(row["shard"], row["rows"]) for row in found.to_pylist()]

    def _batches(self, condition: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Rows in id order, a batch at a time, each beginning with the id after the last one's.

        WITH TIES keeps rows of one id together, which the guide's own ids need.
        """
        chosen = ", ".join(f"{self._plain(name)} AS {backquote(name)}" for name in columns)
        after, parameters = "", dict(self._condition.parameters)
        while True:
            batch = self._query(
                f"SELECT {chosen}, toInt128(id) AS cursor FROM {identifier(self._table)} "
                f"WHERE {condition} AND {self._condition.sql} {after} "
                f"ORDER BY id LIMIT {BATCH_ROWS} WITH TIES",
                parameters,
            )
            if batch.num_rows == 0:
                return
            after = "AND id > {after:Int128}"
            parameters["after"] = int.from_bytes(
                batch.column("cursor")[-1].as_buffer().to_pybytes(), "little", signed=True
            )
            yield _as_binary(batch.drop_columns("cursor"))

    def _stream(
        self, stream: BinaryIO, chosen: str, condition: str, fmt: str, settings: str = ""
    ) -> None:
        sql = (
            f"SELECT {chosen} FROM {identifier(self._table)} "
            f"WHERE {condition} AND {self._condition.sql} ORDER BY id {settings}"
        )
        with explained(self._condition, sql):
            for chunk in self._connection.stream(sql, fmt, self._condition.parameters):
                stream.write(chunk)

    def _query(self, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        with explained(self._condition, sql):
            return self._connection.query(sql, parameters)

    def _picture_list(self) -> list[str]:
        """What img2dataset is told of each picture."""
        listed = [c for c in COLUMNS if c.picture_list and c.name in self._columns]
        return [column.name for column in sorted(listed, key=lambda c: c.picture_list)]

    def _plain(self, name: str) -> str:
        """The column as other programs know it: BFloat16 becomes Float32."""
        if self._types[name] == "Array(BFloat16)":
            return f"CAST({backquote(name)}, 'Array(Float32)')"
        return backquote(name)

    def _valid(self, name: str) -> str:
        """The same with bytes that are no UTF-8 replaced, where no setting may have that done."""
        if self._types[name] in ("String", "LowCardinality(String)"):
            return f"toValidUTF8({backquote(name)}) AS {backquote(name)}"
        return self._plain(name)

    def _advance(self, rows: int) -> None:
        self._done += rows
        if self._progress:
            self._progress(self._done, self._total)


def _of_ids(ids: Sequence[int] | None) -> Condition | None:
    if ids is None:
        return None
    return Condition("id IN {ids:Array(Int64)}", {"ids": [int(row_id) for row_id in ids]})


def _of_shard(shard: int) -> str:
    return f"id BETWEEN {shard << ID_BITS} AND {((shard + 1) << ID_BITS) - 1}"


def _vectors(batch: pa.Table, modality: Any) -> NDArray[np.float32]:
    """An embedding column as float32 of shape (rows, dim)."""
    lists = batch.column(embedding_column(modality)).combine_chunks()
    vectors: NDArray[np.float32] = lists.flatten().to_numpy().reshape(len(lists), -1)
    return vectors


def _as_binary(batch: pa.Table) -> pa.Table:
    """Text as binary where it is no valid UTF-8, so that parquet can keep its every byte."""
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


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when it has been written to its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
