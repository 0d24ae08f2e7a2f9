"""All contenders, those compared with one another close together, so that little drifts between."""

from __future__ import annotations

from search import databases, engines, house, libraries, postgres
from search.contender import Case, Contender, Step

CONTENDERS = {
    contender.name: contender
    for contender in (
        libraries.NUMPY,
        house.EXACT_FLOAT32,
        house.EXACT_BFLOAT16,
        house.AUTO,
        databases.GUIDE_FLAT,
        libraries.FAISS_HNSW,
        house.HNSW,
        engines.QDRANT,
        postgres.PGVECTOR,
        engines.ZVEC,
        engines.MILVUS,
        engines.CHROMA,
        databases.GUIDE_INDEX,
        libraries.USEARCH,
        house.RABITQ,
        house.TURBOQUANT,
        libraries.ANNOY,
        databases.LANCEDB_INDEX,
        libraries.FAISS_FLAT,
        databases.DUCKDB,
        databases.LANCEDB_FLAT,
        house.FILTERS,
    )
}
CURVE_ROWS = (10_000, 31_623, 100_000, 316_228, 1_000_000)


def curve_rows(rows: list[int]) -> list[int]:
    """The sizes cost is followed over: up to the largest asked for, which are among them."""
    return sorted({*rows, *(size for size in CURVE_ROWS if size <= max(rows))})


def contenders_at(size: int, rows: list[int], names: list[str]) -> list[Contender]:
    """Those of ``names`` measured at ``size``: all if it is one of ``rows``, else the followed."""
    chosen = [CONTENDERS[name] for name in names]
    return [each for each in chosen if each.cases_at(curve_only=size not in rows)]


def followed() -> dict[str, Case]:
    """The contenders whose cost is followed over the sizes, and how each is asked."""
    return {each.name: case for each in CONTENDERS.values() for case in each.cases_at(True)}


def steps(contenders: list[Contender]) -> dict[str, Step]:
    """The steps that prepare them, each once, in an order that serves all."""
    return {step.name: step for each in contenders for step in each.steps}
