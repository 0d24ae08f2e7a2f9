"""What a search must know about a table, read in one statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cliphouse.engine.features import EVERYTHING, Features
from cliphouse.errors import TableError
from cliphouse.schema.columns import GRANULE_ROWS, embedding_column
from cliphouse.vocabulary import Metric, Modality

if TYPE_CHECKING:
    from cliphouse.cluster.placement import Placement
    from cliphouse.schema.handle import TableHandle
    from cliphouse.schema.info import TableInfo

DISTANCE: dict[Metric, str] = {"cosine": "cosineDistance", "l2": "L2Distance"}


# Of system.parts: each part has one mark more than granules.
ROWS_OF_A_GRANULE = "intDiv(sum(rows), greatest(sum(marks) - count(), 1))"


def index_name(modality: Modality, metric: Metric) -> str:
    """The index's name: the guide's for cosine; for another metric, its name is appended."""
    return f"{modality}_index" + ("" if metric == "cosine" else f"_{metric}")


@dataclass(frozen=True)
class VectorIndex:
    """An HNSW index, made by cliphouse or by other hands; ``type`` is its SQL. ``is_built`` is
    false if no part of the table has a graph, as after parts were merged."""

    name: str
    column: str
    type: str
    is_built: bool = True

    @property
    def quantization(self) -> str:
        """The type of the numbers in the graph: bf16 (the default), i8 ..."""
        match = re.search(r"'[^']*',\s*'[^']*',\s*\d+,\s*'(\w+)'", self.type)
        return match[1] if match else "bf16"


@dataclass(frozen=True)
class TableFacts:
    """A table as a search sees it. ``stored`` counts deleted rows too until they are merged
    away, and so does ``largest_part``, which is 0 if the engine has no parts. ``granule`` is how
    many rows the engine reads together, ``features`` are the engine's."""

    info: TableInfo
    columns: Mapping[str, str]
    indexes: tuple[VectorIndex, ...]
    rows: int
    largest_part: int
    is_embedded: bool
    placement: Placement
    granule: int = GRANULE_ROWS
    features: Features = EVERYTHING
    stored: int = 0

    @property
    def vector_bytes(self) -> int:
        """Bytes of one modality's vectors, which an exact search reads."""
        return (
            max(self.rows, self.stored)
            * self.info.dim
            * (2 if self.info.precision == "bfloat16" else 4)
        )

    def index(self, modality: Modality, metric: Metric) -> VectorIndex | None:
        """The index that a search by this metric can use, preferably a built one; None if there is
        none."""
        mine = [
            index
            for index in self.indexes
            if index.column == embedding_column(modality) and f"'{DISTANCE[metric]}'" in index.type
        ]
        return max(mine, key=lambda index: index.is_built, default=None)


def _read_sql(placement: Placement) -> str:
    return f"""
SELECT
    (SELECT (engine, total_rows) FROM system.tables
        WHERE database = currentDatabase() AND name = {{table:String}}) AS made,
    (SELECT groupArray((name, expr, type_full, is_built)) FROM (
        SELECT name, expr, type_full, max(data_compressed_bytes) > 0 AS is_built
        FROM {placement.system("data_skipping_indices")}
        WHERE {placement.is_rows} AND type = 'vector_similarity'
        GROUP BY name, expr, type_full ORDER BY name, type_full
    )) AS indexes,
    (SELECT (sum(rows), max(rows), {ROWS_OF_A_GRANULE}, max(has_lightweight_delete))
        FROM {placement.system("parts")} WHERE active AND {placement.is_rows}) AS rows
"""


def read_facts(table: TableHandle) -> TableFacts:
    """Read the table's indexes and size. Raises TableError if no search can name its rows."""
    connection, placement = table.connection, table.placement
    found = connection.query(_read_sql(placement), {"table": table.name}).to_pylist()[0]
    shown = connection.address.shown
    engine, total_rows = _values(found["made"])
    if not re.fullmatch(r"U?Int\d+", table.columns.get("id", "")):
        raise TableError(
            f"{shown}: table {table.name} has no column id of whole numbers, by which a hit "
            "is named"
        )
    stored, largest_part, granule, has_deleted = (
        int(value or 0) for value in _values(found["rows"])
    )
    rows = stored
    if not stored and not engine.endswith("MergeTree"):
        # A view, or another table without parts of its own.
        rows = int(total_rows or connection.command(f"SELECT count() FROM {table.sql}"))
    elif has_deleted:
        rows = int(connection.command(f"SELECT count() FROM {table.sql}"))
    return TableFacts(
        info=table.info,
        columns=table.columns,
        indexes=tuple(VectorIndex(*_values(entry)) for entry in found["indexes"]),
        rows=rows,
        largest_part=largest_part,
        is_embedded=connection.is_embedded,
        placement=placement,
        granule=granule or GRANULE_ROWS,
        features=connection.features,
        stored=stored,
    )


def _values(entry: Any) -> list[Any]:
    """The values of an engine's tuple, which arrives as a mapping or a list."""
    return list(entry.values()) if isinstance(entry, dict) else list(entry)
