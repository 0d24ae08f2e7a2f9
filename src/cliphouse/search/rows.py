"""Rows of the table by their ids, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cliphouse.engine.arrays import plain_value, vectors_of
from cliphouse.engine.quoting import backquote
from cliphouse.errors import MissingError, QueryError
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.shards.roots import local_urls
from cliphouse.vocabulary import MODALITIES, Modality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EMBEDDINGS = frozenset(embedding_column(modality) for modality in MODALITIES)


def read_rows(
    table: TableHandle, ids: Sequence[int], names: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The rows of ``ids`` that are there, in the order of ``ids``, each with its id and the columns
    ``names``, by default all but the embeddings. Bytes that are no UTF-8 are replaced, and a url in
    a root is the path of its file.

    Raises QueryError if the table lacks a column or it has embeddings.
    """
    there = [name for name in table.columns if name not in _EMBEDDINGS]
    for name in names or ():
        if name not in there:
            raise QueryError(f"the table has no column {name} to show; it has {', '.join(there)}")
    columns = there if names is None else [name for name in there if name in {"id", *names}]
    if not ids:
        return []
    chosen = ", ".join(backquote(name) for name in columns)
    found = table.connection.rows(
        f"SELECT {chosen} FROM {table.sql} WHERE id IN {{ids:Array(Int64)}}",
        {"ids": list(ids)},
    )
    rows = {row["id"]: {name: plain_value(value) for name, value in row.items()} for row in found}
    if "url" in columns and table.info.roots:
        local = local_urls(table.info.roots)
        for row in rows.values():
            row["url"] = local(row["url"])
    return [rows[row_id] for row_id in ids if row_id in rows]


def read_vectors(table: TableHandle, ids: Sequence[int], modality: Modality) -> NDArray[np.float32]:
    """The embeddings of rows, float32 of shape (len(ids), dim), in the order of ``ids``. Raises
    MissingError if a row is not there."""
    import numpy as np

    column = embedding_column(modality)
    found = table.connection.query(
        f"SELECT id, CAST({column}, 'Array(Float32)') AS vector FROM {table.sql} "
        "WHERE id IN {ids:Array(Int64)}",
        {"ids": list(ids)},
    )
    places = {row: place for place, row in enumerate(found.column("id").to_pylist())}
    for row in ids:
        if row not in places:
            raise MissingError(f"table {table.name} has no row {row}")
    vectors = vectors_of(found.column("vector"), table.info.dim)
    return vectors[np.array([places[row] for row in ids], np.int64)]
