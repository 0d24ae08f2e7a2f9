"""The columns of a table of image-text pairs: each of them is one entry of COLUMNS.

Reading parquet metadata, CREATE TABLE, hits, filters, the REST models, statistics, export and the
page's forms are made from the entries. What a kind of filter or of statistic does is written once
for the kind: in cliphouse.search.filter and cliphouse.inspection.statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cliphouse.engine.quoting import identifier
from cliphouse.shards.fields import FieldType, KeptColumn, MetadataField
from cliphouse.vocabulary import Modality

# Rows that the engine reads together. To compare one candidate of an index exactly, or to show one
# hit, it reads a whole granule of each column (docs/benchmarks/layout.md).
GRANULE_ROWS = 64

Value = Any  # of a hit's column: text, a number, a date, a list of these, or None
FilterKind = Literal["shards", "host", "contains", "in", "not_in", "min", "max"]
StatisticKind = Literal["histogram", "pixels", "values", "sites"]


@dataclass(frozen=True)
class Scalar:
    """The type of a column of plain values, in SQL and in Python (None if it is another than text
    and numbers).

    ``absent`` is the value of a row that has none. ``codec`` is the SQL of its compression, empty
    for the engine's default, and ``block`` the number of bytes that are compressed together, 0 for
    that default: the engine decompresses a whole block to show one row
    (docs/benchmarks/layout.md). Whole numbers are
    from ``low`` up to, but without, ``high``.
    """

    sql: str
    python: type[str] | type[int] | type[float] | None
    absent: str | int | float | None
    codec: str = ""
    block: int = 2048
    low: int = -(2**31)
    high: int = 2**31


@dataclass(frozen=True)
class Embedding:
    """The type of a column of vectors: its SQL follows from the table's precision, codes and
    dimension."""

    modality: Modality


@dataclass(frozen=True)
class Scale:
    """The numbers that a form offers for a column, and their unit."""

    low: float
    high: float
    step: float
    unit: str = ""


@dataclass(frozen=True)
class Column:
    """A column of the table.

    ``spellings`` are its lower-case names in parquet metadata, the preferred one first; a column
    without them is not read from metadata. ``fallbacks`` are further names there: if a row's text
    is empty, it takes the first of theirs that is not. If ``is_pair_cosine``, a shard without the
    column gets the cosine similarity of each row's two embeddings.

    Hits show a column if ``is_shown``. ``filters`` are the conditions that a Filter offers for it.
    ``statistic`` is what is counted of it. ``label`` names it on the page, whose form offers the
    numbers of ``scale``. A search can leave out rows with one of the values ``unwanted``, the worst
    first. ``picture_list`` is its place in a list of pictures for img2dataset, from 1; 0 leaves it
    out. ``is_kept`` says that only some tables have it (see KeptColumn).
    """

    name: str
    type: Scalar | Embedding
    label: str = ""
    spellings: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    is_pair_cosine: bool = False
    is_shown: bool = True
    filters: tuple[FilterKind, ...] = ()
    statistic: StatisticKind | None = None
    scale: Scale | None = None
    unwanted: tuple[str, ...] = ()
    picture_list: int = 0
    is_kept: bool = False

    @property
    def quoted(self) -> str:
        """The name in SQL: a column of a table's own may be called like a word of SQL."""
        return identifier(self.name) if self.is_kept else self.name


ID = Scalar("Int64", int, 0)
TEXT = Scalar("String", str, "", codec="LZ4", block=4096)
LABEL = Scalar("LowCardinality(String)", str, "")
NUMBER = Scalar("Float32", float, float("nan"))
PIXELS = Scalar("Int32", int, 0, low=0)
_FIELD_TYPES: dict[str, FieldType] = {
    TEXT.sql: "binary",
    LABEL.sql: "binary",
    NUMBER.sql: "float32",
    PIXELS.sql: "int32",
}
RANGE: tuple[FilterKind, ...] = ("min", "max")

COLUMNS = (
    Column("id", ID, is_shown=False, filters=("shards",), picture_list=5),
    Column(
        "url",
        TEXT,
        "URL",
        spellings=("url",),
        fallbacks=("image_path",),
        filters=("host",),
        statistic="sites",
        picture_list=1,
    ),
    Column(
        "caption",
        TEXT,
        "Caption",
        spellings=("caption", "text"),
        filters=("contains",),
        picture_list=2,
    ),
    Column(
        "NSFW",
        LABEL,
        "NSFW",
        spellings=("nsfw",),
        filters=("in", "not_in"),
        statistic="values",
        unwanted=("NSFW", "UNSURE"),  # of LAION-400M's three labels the third is UNLIKELY
        picture_list=4,
    ),
    Column(
        "similarity",
        NUMBER,
        "Similarity of picture and caption",
        spellings=("similarity",),
        is_pair_cosine=True,
        filters=RANGE,
        statistic="histogram",
        scale=Scale(-1, 1, 0.01),
        picture_list=3,
    ),
    Column("image_embedding", Embedding("image"), is_shown=False),
    Column("text_embedding", Embedding("text"), is_shown=False),
    Column(
        "width",
        PIXELS,
        "Width",
        spellings=("width",),
        filters=RANGE,
        statistic="pixels",
        scale=Scale(0, 100_000, 1, "pixels"),
    ),
    Column(
        "height",
        PIXELS,
        "Height",
        spellings=("height",),
        filters=RANGE,
        statistic="pixels",
        scale=Scale(0, 100_000, 1, "pixels"),
    ),
    Column(
        "license",
        LABEL,
        "License",
        spellings=("license", "licence"),
        filters=("in",),
        statistic="values",
    ),
)


def kept_column(kept: KeptColumn) -> Column:
    """The column of a table that keeps ``kept``. Text is stored as captions are."""
    codec, block = ("LZ4", 4096) if "String" in kept.sql else ("", 2048)
    return Column(kept.name, Scalar(kept.sql, None, None, codec, block), is_kept=True)


def embedding_column(modality: Modality) -> str:
    """The name of the column with the embeddings of ``modality``."""
    return f"{modality}_embedding"


def metadata_fields(columns: Sequence[Column]) -> tuple[MetadataField, ...]:
    """What is read from a shard's metadata for ``columns``."""
    return tuple(
        MetadataField(
            column.name,
            _FIELD_TYPES[column.type.sql],
            column.spellings,
            column.type.absent,
            column.fallbacks,
            column.is_pair_cosine,
        )
        for column in columns
        if isinstance(column.type, Scalar) and column.spellings and column.type.absent is not None
    )
