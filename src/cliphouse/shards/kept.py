"""Columns of a metadata file beyond LAION's, as a table keeps them.

| in the file | in the table | null |
|---|---|---|
| integers, floats, booleans | the same type, Nullable | null |
| decimals | Decimal, Nullable | null |
| strings, bytes | String, Nullable; LowCardinality if few values repeat | null |
| dates (of the years 1900 to 2299) | Date32, Nullable | null |
| timestamps | DateTime64 in UTC, of their precision, Nullable | null |
| times of day | their text, as in 12:30:00.5 | null |
| lists of these | Array | an empty list; null among the items |
| structs and maps | JSON text | null |

Columns of other types, such as durations, and columns without a single value are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cliphouse.json_text import to_json_bytes, to_json_texts
from cliphouse.shards.fields import KeptColumn

# A column of the table's own is named like an identifier, for SQL, JSON and attributes alike.
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_FEW_VALUES, _REPEATS = 1000, 10  # LowCardinality: so few values, each so often on average
_WIDER = {
    "Int8": ("Int16", "Int32", "Int64"),
    "Int16": ("Int32", "Int64"),
    "Int32": ("Int64",),
    "UInt8": ("UInt16", "UInt32", "UInt64", "Int16", "Int32", "Int64"),
    "UInt16": ("UInt32", "UInt64", "Int32", "Int64"),
    "UInt32": ("UInt64", "Int64"),
    "Float32": ("Float64",),
    "String": ("LowCardinality(String)",),
}


@dataclass(frozen=True)
class LeftOut:
    """A column that a table cannot keep, and why."""

    name: str
    reason: str


def kept_columns(
    schema: pa.Schema,
    chosen: Collection[str],
    taken: Collection[str],
    sample: pa.Table,
) -> tuple[tuple[KeptColumn, ...], tuple[LeftOut, ...]]:
    """How a table keeps the columns ``chosen`` of a metadata file with ``schema``, and those of
    them that it cannot keep. The names ``taken`` are those of other columns. A text that has few
    values in ``sample``, some of the file's rows, becomes LowCardinality; the sample has the
    columns for which may_repeat holds."""
    kept: list[KeptColumn] = []
    left_out: list[LeftOut] = []
    used = {name.lower() for name in taken}
    for field in schema:
        if field.name not in chosen:
            continue
        if schema.names.count(field.name) > 1:
            left_out.append(LeftOut(field.name, "the file has it twice"))
            continue
        sql = sql_type(field.type)
        if sql is None:
            left_out.append(LeftOut(field.name, f"of type {field.type}"))
            continue
        if may_repeat(field.type) and _repeats(sample, field.name):
            sql = "LowCardinality(Nullable(String))"
        name = _free_name(field.name, used)
        used.add(name.lower())
        kept.append(KeptColumn(name, field.name, sql))
    return tuple(kept), tuple(left_out)


def sql_type(kind: pa.DataType) -> str | None:
    """The type of a column of the table for values of ``kind``; None if it cannot keep them."""
    if _is_list(kind):
        inner = sql_type(kind.value_type)
        return None if inner is None else f"Array({inner})"
    plain = _plain_type(kind)
    return None if plain is None else f"Nullable({plain})"


def may_repeat(kind: pa.DataType) -> bool:
    """Whether values of ``kind`` are kept as texts, of which there may be few different ones."""
    is_document = pa.types.is_struct(kind) or pa.types.is_map(kind)
    return sql_type(kind) == "Nullable(String)" and not is_document


def _plain_type(kind: pa.DataType) -> str | None:
    types = pa.types
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_boolean(kind):
        return "Bool"
    if types.is_integer(kind):
        return f"{'U' * types.is_unsigned_integer(kind)}Int{kind.bit_width}"
    if types.is_floating(kind):
        return "Float64" if kind.bit_width == 64 else "Float32"
    if types.is_decimal(kind) and 0 <= kind.scale <= kind.precision:
        return f"Decimal({kind.precision}, {kind.scale})"
    if types.is_date(kind):
        return "Date32"
    if types.is_timestamp(kind):
        return f"DateTime64({_UNITS[kind.unit]}, 'UTC')"
    if _is_text(kind) or types.is_time(kind) or types.is_struct(kind) or types.is_map(kind):
        return "String"
    return None


def arrow_type(sql: str) -> pa.DataType:
    """The Arrow type in which values of a kept column of type ``sql`` are sent to the engine."""
    if match := re.fullmatch(r"(?:Array|Nullable|LowCardinality)\((.*)\)", sql):
        inner = arrow_type(match[1])
        return pa.list_(inner) if sql.startswith("Array") else inner
    if match := re.fullmatch(r"Decimal\((\d+), (\d+)\)", sql):
        made = pa.decimal128 if int(match[1]) <= 38 else pa.decimal256
        return made(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"DateTime64\((\d), 'UTC'\)", sql):
        unit = next(unit for unit, digits in _UNITS.items() if digits == int(match[1]))
        return pa.timestamp(unit, "UTC")
    if sql == "String":
        return pa.binary()
    names = {"Bool": "bool", "Date32": "date32", "Float32": "float32", "Float64": "float64"}
    return pa.type_for_alias(names.get(sql, sql.lower()))


def fits(kind: pa.DataType, column: KeptColumn) -> bool:
    """Whether a kept column holds all values of a file's column of ``kind``: it has the same type,
    or a wider one."""
    have, wanted = sql_type(kind), column.sql
    if have is None:
        return bool(pa.types.is_null(kind))
    bare, target = (re.sub(r"Nullable\((.*?)\)", r"\1", each) for each in (have, wanted))
    while bare.startswith("Array(") and target.startswith("Array("):
        bare, target = bare[6:-1], target[6:-1]
    return bare == target or target in _WIDER.get(bare, ())


def widest(column: KeptColumn, kind: pa.DataType) -> KeptColumn | None:
    """The column as it holds values of ``kind`` too; None if no type holds both."""
    if fits(kind, column):
        return column
    other = sql_type(kind)
    if other is None:
        return None
    wider = KeptColumn(column.name, column.source, other)
    return wider if fits(arrow_type(column.sql), wider) else None


def as_kept(values: pa.ChunkedArray, column: KeptColumn) -> pa.ChunkedArray:
    """A file's values as they are sent to the engine. Raises pyarrow.ArrowException if they are of
    another type."""
    kind = arrow_type(column.sql)
    if column.is_list:
        return _lists(plain(values), kind)
    return _scalars(values, kind)


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """``values`` as they are without a dictionary."""
    if not pa.types.is_dictionary(values.type):
        return values
    decoded = [chunk.dictionary_decode() for chunk in values.chunks]
    return pa.chunked_array(decoded, values.type.value_type)


def no_values(column: KeptColumn, rows: int) -> pa.ChunkedArray:
    """The column of ``rows`` rows whose file lacks it."""
    kind = arrow_type(column.sql)
    value = pa.scalar([], kind) if column.is_list else pa.scalar(None, kind)
    return pa.chunked_array([pa.repeat(value, rows)])


def _scalars(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    types = pa.types
    values = plain(values)
    if types.is_struct(values.type) or types.is_map(values.type):
        return pa.chunked_array([pa.array(_json_texts(values), kind)])
    if types.is_time(values.type):
        texts = (None if v is None else str(v).encode() for v in values.to_pylist())
        return pa.chunked_array([pa.array(texts, kind)])
    if types.is_timestamp(values.type) and values.type.tz is None:
        values = pc.assume_timezone(values, "UTC")
    if types.is_string_view(values.type) or types.is_binary_view(values.type):
        values = values.cast(pa.binary())
    return values.cast(kind)


def _lists(values: pa.ChunkedArray, kind: pa.ListType) -> pa.ChunkedArray:
    """Lists whose items are converted like scalars; a null is an empty list."""
    chunks = [_list(chunk, kind) for chunk in values.chunks]
    return pa.chunked_array(chunks, kind)


def _list(values: pa.Array, kind: pa.ListType) -> pa.Array:
    if pa.types.is_null(values.type):
        return pa.array([[] for _ in values], kind)
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
    items = pa.chunked_array([pc.list_flatten(values)])
    inner = kind.value_type
    made = _lists(items, inner) if pa.types.is_list(inner) else _scalars(items, inner)
    offsets = pa.array(np.concatenate(([0], lengths.cumsum())), pa.int32())
    return pa.ListArray.from_arrays(offsets, made.combine_chunks(), kind)


def _json_texts(values: pa.ChunkedArray) -> list[bytes | None]:
    """Structs or maps as JSON texts."""
    return [text for chunk in values.chunks for text in _texts(chunk)]


def _texts(values: pa.Array) -> list[bytes | None]:
    """The values as JSON texts. Those of structs are put together from their fields' texts, in a
    fraction of the time that pyarrow takes to make each struct a dict."""
    kind = values.type
    if pa.types.is_struct(kind) and kind.num_fields:
        names = [to_json_bytes(field.name).replace(b"%", b"%%") for field in kind]
        form = b"{" + b",".join(name + b":%b" for name in names) + b"}"
        fields = [[text or b"null" for text in _texts(field)] for field in values.flatten()]
        texts: list[bytes] = list(map(form.__mod__, zip(*fields, strict=True)))
    elif pa.types.is_nested(kind):
        texts = [to_json_bytes(_plain(value, kind)) for value in values.to_pylist()]
    else:
        texts = to_json_texts(_scalars_of(values))
    if not values.null_count:
        return list(texts)
    there = values.is_valid().to_pylist()
    return [text if ok else None for text, ok in zip(texts, there, strict=True)]


def _scalars_of(values: pa.Array) -> list[Any]:
    """The values as Python has them, and as JSON can have them; numbers and texts in a tenth of the
    time that to_pylist takes."""
    kind = values.type
    if not values.null_count and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        numbers: list[Any] = values.to_numpy().tolist()
        return numbers
    if _is_text(kind) and not pa.types.is_fixed_size_binary(kind):
        read = values.cast(pa.large_binary()).to_numpy(zero_copy_only=False).tolist()
        return [None if value is None else value.decode(errors="replace") for value in read]
    return [_plain(value, kind) for value in values.to_pylist()]


def _plain(value: Any, kind: pa.DataType) -> Any:
    """A value as JSON has it: pyarrow gives a map as a list of pairs, and texts as bytes."""
    types = pa.types
    if value is None:
        return None
    if types.is_map(kind):
        keys, items = kind.key_type, kind.item_type
        return {str(_plain(key, keys)): _plain(item, items) for key, item in value}
    if types.is_struct(kind):
        return {field.name: _plain(value[field.name], field.type) for field in kind}
    if _is_list(kind):
        return [_plain(item, kind.value_type) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        test(kind) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list)
    )


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        test(kind)
        for test in (
            *(types.is_string, types.is_large_string, types.is_string_view),
            *(types.is_binary, types.is_large_binary, types.is_binary_view),
            types.is_fixed_size_binary,
        )
    )


def _repeats(sample: pa.Table, name: str) -> bool:
    distinct = pc.count_distinct(sample.column(name), mode="only_valid").as_py()
    return bool(distinct <= min(_FEW_VALUES, sample.num_rows / _REPEATS))


def _free_name(source: str, used: Collection[str]) -> str:
    """The name of a file's column in the table: what is no letter, digit or underscore becomes an
    underscore, and a name that is taken gets a number."""
    name = source
    if not _IDENTIFIER.fullmatch(name):
        name = re.sub(r"[^A-Za-z0-9_]", "_", name)
        name = name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"
    return next(each for each in _numbered(name) if each.lower() not in used)


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def in_words(left_out: Iterable[LeftOut]) -> str:
    """Columns that are not kept, each with its reason."""
    return ", ".join(f"{each.name} ({each.reason})" for each in left_out)
