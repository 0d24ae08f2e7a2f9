"""Answers of the engine in Arrow, as numpy arrays and plain values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from cliphouse.json_text import to_json

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


def as_rows(result: pa.Table) -> list[dict[str, Any]]:
    """Rows as dicts, of values as ``cells`` has them."""
    columns = map(cells, result.columns)
    return [dict(zip(result.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def without_lists(result: pa.Table) -> pa.Table:
    """Lists, tuples and maps as JSON text, which a CSV cell can hold."""
    import pyarrow as pa

    for index, field in enumerate(result.schema):
        if pa.types.is_nested(field.type):
            texts = pa.array(map(to_json, cells(result.column(index))), pa.string())
            result = result.set_column(index, field.name, texts)
    return result


def cells(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column. Bytes that are not UTF-8, which a String may hold, are replaced."""
    return [_decoded(value) for value in column.cast(_as_bytes(column.type)).to_pylist()]


def text_of(value: bytes | str) -> str:
    """Text as Python has it, with what is no UTF-8 replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def plain_value(value: Any) -> Any:
    """A value of a table of ours as Python and JSON have it: bytes as text, with what is no UTF-8
    replaced, and times, which come without a zone over HTTP, in UTC."""
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return _decoded(value)


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return text_of(value)
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_decoded(inner) for inner in value]
    return value


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """``kind`` with text as bytes, at any depth: a String of ClickHouse may not be UTF-8."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_dictionary(kind):
        return _as_bytes(kind.value_type)
    if pa.types.is_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(_as_bytes(kind.key_type), _as_bytes(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _as_bytes(field.type)) for field in kind])
    return kind
