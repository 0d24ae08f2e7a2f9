"""The layouts that layout.py compares, the queries that it asks, and the figures it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from cliphouse.cluster.ddl import Layout
from cliphouse.schema.columns import COLUMNS, Column, Scalar
from cliphouse.schema.info import TableInfo, table_layout
from cliphouse.vocabulary import Precision
from ingest import Machine

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
QUERIES, WARM_UP = 60, 5
EF, K = 64, 10
# Links and width of the graphs matter little here: what is read beside them is measured.
M, EF_CONSTRUCTION = 16, 64
# A graph of each layout takes too long above; it reads as many candidates from a larger table.
INDEXED_UP_TO = 100_000


@dataclass(frozen=True)
class Variant:
    """A layout: rows of a granule, the codec of text, and the bytes of a block of text and of
    numbers (0 for the engine's default). One with codes has no index."""

    name: str
    granule: int
    codec: str
    text_block: int
    number_block: int
    has_codes: bool = False

    @property
    def label(self) -> str:
        blocks = [
            f"{b // 1024} kB" if b else "default" for b in (self.text_block, self.number_block)
        ]
        return f"{self.granule} | {self.codec} | {blocks[0]} | {blocks[1]}"

    def layout(self, info: TableInfo) -> Layout:
        kept = replace(info, codes="rabitq" if self.has_codes else "none")
        made = table_layout(kept, tuple(map(self._column, COLUMNS)))
        return replace(made, settings={**made.settings, "index_granularity": self.granule})

    def _column(self, column: Column) -> Column:
        if not isinstance(column.type, Scalar):
            return column
        is_text = column.type.sql == "String"
        codec = self.codec if is_text else column.type.codec
        block = self.text_block if is_text else self.number_block
        return replace(column, type=replace(column.type, codec=codec, block=block))


BEFORE = Variant("before", 512, "ZSTD", 0, 0)
TODAY = Variant("today", 64, "LZ4", 4096, 2048)
WITH_CODES = tuple(
    replace(variant, name=f"{variant.name}_codes", has_codes=True) for variant in (BEFORE, TODAY)
)
VARIANTS = (
    BEFORE,
    Variant("g128", 128, "LZ4", 8192, 8192),
    Variant("g64_text", 64, "LZ4", 8192, 0),
    Variant("g64_zstd", 64, "ZSTD", 8192, 8192),
    TODAY,
    Variant("g32", 32, "LZ4", 4096, 2048),
)


def asked_of(rows: int, precision: Precision) -> dict[str, dict[str, Any]]:
    """What is asked of tables of a size: only BFloat16 has codes, and only small ones a graph."""
    return {
        what: options
        for what, options in ASKED.items()
        if (what != CODES or precision == "bfloat16")
        and (options["mode"] != "hnsw" or rows <= INDEXED_UP_TO)
    }


def variants(rows: int, precision: Precision) -> tuple[Variant, ...]:
    """The layouts to compare. Of many rows three tables fill the disk: the old layout, today's, and
    the next finer one."""
    compared = VARIANTS if rows <= INDEXED_UP_TO else (BEFORE, TODAY, VARIANTS[-1])
    return compared + WITH_CODES * (precision == "bfloat16")


CODES = "codes, 20 times k"
ASKED: dict[str, dict[str, Any]] = {
    "hnsw, ids": {"mode": "hnsw", "ef": EF, "fields": ""},
    "hnsw, url and caption": {"mode": "hnsw", "ef": EF, "fields": "url,caption"},
    "hnsw, all columns": {"mode": "hnsw", "ef": EF},
    CODES: {"mode": "codes", "oversampling": 20, "fields": "url,caption"},
    "exact": {"mode": "exact", "fields": "url,caption"},
    "exact, a number filtered": {"mode": "exact", "where": "width > 1200", "fields": "url"},
    "exact, text filtered": {"mode": "exact", "where": "caption ILIKE '%clock%'", "fields": "url"},
}


@dataclass(frozen=True)
class Size:
    """A table's bytes, on disk, of its marks there and of its key in memory, and the rows a second
    that were inserted from another table."""

    rows: int
    precision: str
    variant: str
    disk: int
    marks: int
    key: int
    inserted: float


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a query, and the recall of the exact answer if it was compared."""

    rows: int
    precision: str
    variant: str
    asked: str
    p10: float
    p50: float
    p90: float
    recall: float | None = None


@dataclass(frozen=True)
class Run:
    """All that was measured."""

    sizes: list[Size]
    layouts: list[Timing]
    candidates: list[Timing]
    readers: list[Timing]
    machine: Machine
    load: float
