"""The layout of a table, and the description that is kept in its comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TypeVar

from cliphouse.cluster.ddl import Layout
from cliphouse.cluster.placement import Placement
from cliphouse.engine.connection import Connection
from cliphouse.engine.quoting import identifier, quote
from cliphouse.errors import TableError
from cliphouse.schema.columns import (
    COLUMNS,
    GRANULE_ROWS,
    Column,
    Embedding,
    embedding_column,
    kept_column,
)
from cliphouse.schema.migrations import DESCRIPTION
from cliphouse.shards.fields import KeptColumn
from cliphouse.shards.numbering import ID_BITS
from cliphouse.shards.roots import Root
from cliphouse.vocabulary import MODALITIES, Codes, Measured, Modality, Precision

_ELEMENT = {"float32": "Float32", "bfloat16": "BFloat16"}
_TOKENS = "non_replicated_deduplication_window"
LEDGER_SUFFIX = "ledger"
CODES_SETTINGS = {"enable_quantized_codec": 1}
_ENGINE_GRANULE = 8192  # of a table whose definition does not say it


@dataclass(frozen=True)
class TableInfo:
    """What a table was made with. ``model`` is None if it is not known. ``dim`` is 0 if the table
    was made by other hands and is empty. ``kept`` are its columns beyond COLUMNS,
    and ``left_out`` the columns of the metadata that it was made without. ``roots`` are the folders
    that its urls name."""

    model: str | None
    dim: int
    precision: Precision
    modalities: tuple[Modality, ...]
    measured: tuple[Measured, ...] = field(default=())
    codes: Codes = "none"
    kept: tuple[KeptColumn, ...] = ()
    left_out: tuple[str, ...] = ()
    roots: tuple[Root, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns that the table may have."""
        return (*COLUMNS, *map(kept_column, self.kept))

    def to_comment(self) -> str:
        """The table's comment that keeps this, with the version of this release."""
        record = asdict(self)
        optional = ("kept", "left_out", "roots")
        return DESCRIPTION.write({k: v for k, v in record.items() if v or k not in optional})

    @classmethod
    def from_comment(cls, comment: str, table: str) -> TableInfo | None:
        """What the comment of ``table`` says; None if the comment is not one of ours.

        Keys that this release does not know are ignored. Raises TableError if a newer release
        wrote the comment.
        """
        record = DESCRIPTION.read(comment, table)
        if record is None:
            return None
        try:
            measured = (_from_record(Measured, entry) for entry in record.pop("measured"))
            known = tuple(entry for entry in measured if entry is not None)
            modalities = tuple(record.pop("modalities"))
            kept = tuple(KeptColumn(**entry) for entry in record.pop("kept", ()))
            left_out = tuple(record.pop("left_out", ()))
            roots = tuple(Root(**entry) for entry in record.pop("roots", ()))
        except (KeyError, TypeError):
            return None
        made = {"modalities": modalities, "measured": known, "kept": kept}
        return _from_record(cls, record | made | {"left_out": left_out, "roots": roots})


_Kept = TypeVar("_Kept", TableInfo, Measured)


def _from_record(made: type[_Kept], record: object) -> _Kept | None:
    """A dataclass made from the keys that it has; None if one that it needs is missing."""
    if not isinstance(record, dict):
        return None
    names = {field.name for field in fields(made)}
    try:
        return made(**{name: value for name, value in record.items() if name in names})
    except TypeError:
        return None


def table_layout(info: TableInfo, columns: Sequence[Column] | None = None) -> Layout:
    """The columns of a table of image-text pairs (None for those that ``info`` has), and how it
    keeps them.

    Embeddings are incompressible, so CODEC(NONE) saves time and costs no space; the Quantized codec
    keeps the same bytes and some 60 to 260 bytes of code a vector beside them. Small granules and
    blocks keep the reading around a found row small, and wide parts let a scan read one column. A
    merge does not rebuild a vector index by itself, which would take minutes unasked. A cluster's
    shards get even shares of the ids by their hash.
    """
    return Layout(
        columns=tuple(
            column_definition(column, info)
            for column in (info.columns if columns is None else columns)
            if _has(info, column)
        ),
        order_by="id",
        sharding_key="intHash64(id)",
        comment=info.to_comment(),
        settings={
            "index_granularity": GRANULE_ROWS,
            "min_bytes_for_wide_part": 0,
            "materialize_skip_indexes_on_merge": 0,
        },
        made_with={} if info.codes == "none" else CODES_SETTINGS,
    )


def _has(info: TableInfo, column: Column) -> bool:
    """Whether a table has the column: it may lack embeddings of a modality."""
    return not isinstance(column.type, Embedding) or column.type.modality in info.modalities


def column_definition(column: Column, info: TableInfo) -> str:
    """The column in a CREATE TABLE or ALTER TABLE statement."""
    if isinstance(column.type, Embedding):
        codec = "NONE" if info.codes == "none" else f"Quantized('{info.codes}', {info.dim})"
        return f"{column.name} Array({_ELEMENT[info.precision]}) CODEC({codec})"
    codec = f" CODEC({column.type.codec})" if column.type.codec else ""
    definition = f"{column.quoted} {column.type.sql}{codec}"
    if not column.type.block:
        return definition
    bounds = (f"{bound}_compress_block_size = {column.type.block}" for bound in ("min", "max"))
    return f"{definition} SETTINGS ({', '.join(bounds)})"


@dataclass(frozen=True)
class Definition:
    """A table as the engine knows it: its comment, its columns in order with their types, and the
    comment of the ledger beside it, None if there is no ledger."""

    comment: str
    columns: dict[str, str]
    ledger_comment: str | None


def read_definition(connection: Connection, name: str) -> Definition | None:
    """The table's comment and columns; None if there is no such table."""
    found = connection.rows(
        "SELECT name, comment AS said, toUInt64(0) AS place FROM system.tables "
        "WHERE database = currentDatabase() AND name IN ({name:String}, {ledger:String}) "
        "UNION ALL SELECT name, type, position FROM system.columns "
        "WHERE database = currentDatabase() AND table = {name:String}",
        {"name": name, "ledger": ledger_name(name)},
    )
    found.sort(key=lambda row: int(row["place"]))
    told = [(row["name"].decode(), row["said"].decode(), row["place"]) for row in found]
    comments = {table: said for table, said, place in told if not place}
    columns = {column: said for column, said, place in told if place}
    if not columns:
        return None
    return Definition(comments.get(name, ""), columns, comments.get(ledger_name(name)))


def ledger_name(table: str) -> str:
    """The name of the ledger of ``table``."""
    return f"{table}_{LEDGER_SUFFIX}"


def read_comment(connection: Connection, name: str) -> str | None:
    """The table's comment; None if there is no such table."""
    found = connection.query(
        "SELECT comment FROM system.tables "
        "WHERE database = currentDatabase() AND name = {name:String}",
        {"name": name},
    )
    return found.column("comment")[0].as_py() if found.num_rows else None


@dataclass(frozen=True)
class KnownModels:
    """The model of each table of a database that says it, by table, and why that of some table
    cannot be read, empty if there is no such table."""

    by_table: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def read_models(connection: Connection) -> KnownModels:
    """The models that the tables of the database were made with."""
    tables = connection.query(
        "SELECT name, comment FROM system.tables "
        "WHERE database = currentDatabase() AND comment != '' ORDER BY name"
    ).to_pylist()
    models: dict[str, str] = {}
    problem = ""
    for table in tables:
        try:
            info = TableInfo.from_comment(table["comment"], table["name"])
        except TableError as error:
            problem = problem or str(error)
            continue
        if info is not None and info.model:
            models[table["name"]] = info.model
    return KnownModels(models, problem)


def write_info(connection: Connection, placement: Placement, info: TableInfo) -> bool:
    """Keep ``info`` with the table, unless that would replace a comment of its owner's. Returns
    whether it is kept. Raises TableError if a newer release has written the comment."""
    comment = read_comment(connection, placement.table)
    if comment and TableInfo.from_comment(comment, placement.table) is None:
        return False
    placement.run(
        connection,
        f"ALTER TABLE {placement.whole}{placement.on} MODIFY COMMENT {quote(info.to_comment())}",
        is_queued=True,
    )
    return True


def keep_tokens(connection: Connection, name: str) -> None:
    """Let a table made by other hands remember insert tokens, without which the engine would keep
    the same batch twice. Replicated tables remember them by default."""
    found = connection.query(
        "SELECT engine, create_table_query AS statement FROM system.tables "
        "WHERE database = currentDatabase() AND name = {name:String}",
        {"name": name},
    ).to_pylist()[0]
    if found["engine"] == "MergeTree" and _TOKENS not in found["statement"]:
        connection.command(f"ALTER TABLE {identifier(name)} MODIFY SETTING {_TOKENS} = 10000")


def read_granule(connection: Connection, placement: Placement) -> int:
    """The number of rows that the engine reads together, as the table with the rows declares it; 0
    if it is of an engine without granules."""
    found = connection.query(
        "SELECT extract(engine_full, 'index_granularity = (\\\\d+)') AS rows, engine "
        f"FROM system.tables WHERE {placement.is_rows}"
    ).to_pylist()
    if not found or not found[0]["engine"].endswith("MergeTree"):
        return 0
    return int(found[0]["rows"] or _ENGINE_GRANULE)


def rows_by_shard(connection: Connection, name: str) -> dict[int, int]:
    """The number of rows of each shard in the table."""
    found = connection.query(
        f"SELECT bitShiftRight(id, {ID_BITS}) AS shard, count() AS rows "
        f"FROM {identifier(name)} GROUP BY shard"
    )
    return dict(
        zip(found.column("shard").to_pylist(), found.column("rows").to_pylist(), strict=True)
    )


def with_measured(info: TableInfo, measured: tuple[Measured, ...]) -> TableInfo:
    """``info`` with new measurements in the place of older ones of the same modality, metric and
    k."""
    new = {(entry.modality, entry.metric, entry.k) for entry in measured}
    kept = tuple(e for e in info.measured if (e.modality, e.metric, e.k) not in new)
    return replace(info, measured=kept + measured)


def describe_table(connection: Connection, name: str, types: Mapping[str, str]) -> TableInfo:
    """Describe a table made by other hands by its columns, given with their types, and the length
    of its first vector. Raises TableError if it has no embeddings."""
    modalities = tuple(m for m in MODALITIES if embedding_column(m) in types)
    if not modalities:
        raise TableError(
            f"table {name} has neither image_embedding nor text_embedding: no table to search"
        )
    first = embedding_column(modalities[0])
    lengths = connection.query(f"SELECT length({first}) AS dim FROM {identifier(name)} LIMIT 1")
    dim = lengths.column("dim")[0].as_py() if lengths.num_rows else 0
    precision: Precision = "bfloat16" if "BFloat16" in types[first] else "float32"
    return TableInfo(None, dim, precision, modalities)
