"""Rows of the table by their ids, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cliphouse.engine.quoting import backquote
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.vocabulary import MODALITIES

_EMBEDDINGS = frozenset(embedding_column(modality) for modality in MODALITIES)


def read_rows(table: TableHandle, ids: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of ``ids`` that are there, in the order of ``ids``, each with all its columns but
    the embeddings. Bytes that are no UTF-8 are replaced."""
    columns = [name for name in table.columns if name not in _EMBEDDINGS]
    if not ids:
        return []
    chosen = ", ".join(backquote(name) for name in columns)
    found = table.connection.rows(
        f"SELECT {chosen} FROM {table.sql} WHERE id IN {{ids:Array(Int64)}}",
        {"ids": list(ids)},
    )
    rows = {row["id"]: {name: _text(value) for name, value in row.items()} for row in found}
    return [rows[row_id] for row_id in ids if row_id in rows]


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
