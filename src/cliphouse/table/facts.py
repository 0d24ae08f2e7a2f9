"""What a search must know of a table beforehand, read in one statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cliphouse.errors import TableError
from cliphouse.table.connection import Connection
from cliphouse.table.schema import TableInfo, describe_table

_READ = """
SELECT
    (SELECT comment FROM system.tables
        WHERE database = currentDatabase() AND name = {table:String}) AS comment,
    (SELECT groupArray(name) FROM (
        SELECT name FROM system.columns
        WHERE database = currentDatabase() AND table = {table:String} ORDER BY position
    )) AS columns,
    (SELECT groupArray((name, type_full)) FROM system.data_skipping_indices
        WHERE database = currentDatabase() AND table = {table:String}
        AND type = 'vector_similarity') AS indexes,
    (SELECT sum(rows) FROM system.parts
        WHERE active AND database = currentDatabase() AND table = {table:String}) AS rows,
    (SELECT max(rows) FROM system.parts
        WHERE active AND database = currentDatabase() AND table = {table:String}) AS largest_part
"""


@dataclass(frozen=True)
class TableFacts:
    """A table as a search sees it. ``indexes`` maps names to types; ``rows`` counts deleted rows
    too until they are merged away; ``largest_part`` is in rows."""

    info: TableInfo
    columns: tuple[str, ...]
    indexes: Mapping[str, str]
    rows: int
    largest_part: int
    is_embedded: bool

    @property
    def vector_bytes(self) -> int:
        """Bytes of one modality's vectors, which an exact search reads."""
        return self.rows * self.info.dim * (2 if self.info.precision == "bfloat16" else 4)


def read_facts(connection: Connection, table: str) -> TableFacts:
    """Raises TableError where there is no such table."""
    found = connection.query(_READ, {"table": table}).to_pylist()[0]
    columns = tuple(found["columns"])
    if not columns:
        raise TableError(
            f"{connection.address.shown}: no table {table}; make it with: cliphouse ingest DIR"
        )
    info = TableInfo.from_comment(found["comment"]) or describe_table(connection, table)
    return TableFacts(
        info=info,
        columns=columns,
        indexes={entry[0]: entry[1] for entry in map(_pair, found["indexes"])},
        rows=int(found["rows"] or 0),
        largest_part=int(found["largest_part"] or 0),
        is_embedded=connection.is_embedded,
    )


def index_quantization(type_sql: str) -> str:
    """What a vector index keeps of each number, from its type as SQL: bf16 (the default), i8 ..."""
    match = re.search(r"'[^']*',\s*'[^']*',\s*\d+,\s*'(\w+)'", type_sql)
    return match[1] if match else "bf16"


def _pair(entry: object) -> tuple[str, str]:
    values = list(entry.values()) if isinstance(entry, dict) else list(entry)  # type: ignore[call-overload]
    return str(values[0]), str(values[1])
