"""Answers of the engine in Arrow, as numpy arrays and plain values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


def vectors_of(column: pa.ChunkedArray, dim: int) -> NDArray[np.float32]:
    """A column of Array(Float32) as float32 of shape (rows, dim). No Python list is made, which
    for 6,000 rows of 512 elements would take seconds."""
    flat: NDArray[np.float32] = column.combine_chunks().flatten().to_numpy()
    return flat.reshape(len(column), dim)


def plain_columns(table: pa.Table) -> dict[str, Sequence[Any]]:
    """An answer by its columns; text comes as bytes, valid UTF-8 or not."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.binary()))
    columns: dict[str, Sequence[Any]] = table.to_pydict()
    return columns


def plain_value(value: Any) -> Any:
    """A value of an answer as Python and JSON have it: bytes as text, with what is no UTF-8
    replaced, and times, which come without a zone over HTTP, in UTC."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return value
