"""Values of types that Arrow does not have, as the engine's own formats write them.

The engine writes an IPv4, the value of an Enum and a DateTime as a number, and what is wider than
64 bits, or a BFloat16, as bytes. What they stand for is told by DESCRIBE.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from cliphouse.engine.connection import Connection
from cliphouse.errors import CliphouseError

if TYPE_CHECKING:
    import pyarrow as pa


def with_own_values(
    table: pa.Table,
    connection: Connection,
    statement: str,
    parameters: Mapping[str, Any] | None = None,
) -> pa.Table:
    """The result of a statement, with columns of such types as texts, times or numbers. It is
    returned as it is if it has none, or if the engine cannot tell."""
    if not any(_may_stand_for_other(field.type) for field in table.schema):
        return table
    with suppress(CliphouseError):  # what is no query, such as SHOW
        described = connection.query(f"DESCRIBE ({statement}\n)", parameters).to_pylist()
        if [row["name"] for row in described] == table.column_names:
            for place, row in enumerate(described):
                table = _converted(table, place, row["type"])
    return table


def _may_stand_for_other(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if kind.num_fields:
        return any(_may_stand_for_other(kind.field(n).type) for n in range(kind.num_fields))
    if pa.types.is_dictionary(kind):
        return _may_stand_for_other(kind.value_type)
    numbers = (pa.int8(), pa.int16(), pa.uint32())
    return kind in numbers or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary(kind)


def _converted(table: pa.Table, place: int, sql_type: str) -> pa.Table:
    import pyarrow as pa
    from clickhouse_connect.datatypes.registry import get_from_name
    from clickhouse_connect.driver.exceptions import Error

    field = table.schema.field(place)
    try:
        column = _conversion(get_from_name(sql_type), field.type)
    except Error:  # a type that the driver does not know
        return table
    if column is None:
        return table
    values = [_apply(column, value) for value in table[place].to_pylist()]
    return table.set_column(place, field.name, pa.array(values, column.type))


@dataclass(frozen=True)
class _Conversion:
    """What makes of a value, which is not null, what it stands for, and the type of that."""

    convert: Callable[[Any], Any]
    type: pa.DataType


def _conversion(kind: Any, written: pa.DataType) -> _Conversion | None:
    """The conversion of a column's type that is ``written`` so; None if nothing is to convert."""
    import pyarrow as pa

    name = type(kind).__name__
    if name in ("Enum8", "Enum16"):
        return _Conversion(kind._int_map.__getitem__, pa.string())
    if name == "DateTime":
        zone = kind.tzinfo or timezone.utc
        return _Conversion(
            lambda seconds: datetime.fromtimestamp(seconds, zone), pa.timestamp("s", str(zone))
        )
    if name == "BFloat16":
        return _Conversion(_bfloat16, pa.float32())
    if name in _TEXTS:
        return _Conversion(_TEXTS[name], pa.string())
    if name in ("Array", "Nested"):
        item = (
            _conversion(kind.element_type, written.value_type)
            if name == "Array"
            else _tuple_conversion(kind, written.value_type)
        )
        return item and _Conversion(
            lambda values: [_apply(item, value) for value in values], pa.list_(item.type)
        )
    if name == "Map":
        return _map_conversion(kind, written)
    return _tuple_conversion(kind, written) if name == "Tuple" else None


def _map_conversion(kind: Any, written: pa.DataType) -> _Conversion | None:
    import pyarrow as pa

    key = _conversion(kind.key_type, written.key_type)
    item = _conversion(kind.value_type, written.item_type)
    if key is None and item is None:
        return None
    return _Conversion(
        lambda pairs: [(_apply(key, a), _apply(item, b)) for a, b in pairs],
        pa.map_(key.type if key else written.key_type, item.type if item else written.item_type),
    )


def _tuple_conversion(kind: Any, written: pa.DataType) -> _Conversion | None:
    import pyarrow as pa

    fields = [written.field(n) for n in range(written.num_fields)]
    parts = {
        field.name: _conversion(part, field.type)
        for part, field in zip(kind.element_types, fields, strict=True)
    }
    if not any(parts.values()):
        return None
    types = [
        (field.name, part.type if (part := parts[field.name]) else field.type) for field in fields
    ]
    return _Conversion(
        lambda values: {name: _apply(parts[name], value) for name, value in values.items()},
        pa.struct(types),
    )


def _apply(conversion: _Conversion | None, value: Any) -> Any:
    return value if conversion is None or value is None else conversion.convert(value)


def _bfloat16(data: bytes) -> float:
    """The upper half of a float of 32 bits."""
    value: float = struct.unpack("<f", b"\0\0" + data)[0]
    return value


def _integer(is_signed: bool) -> Callable[[bytes], str]:
    """As text, since Arrow's widest numbers have 76 digits, and these up to 78."""
    return lambda data: str(int.from_bytes(data, "little", signed=is_signed))


_TEXTS: dict[str, Callable[[Any], str]] = {
    "IPv4": lambda number: str(ipaddress.IPv4Address(number)),
    "IPv6": lambda data: str(ipaddress.IPv6Address(data)),
    "Int128": _integer(is_signed=True),
    "Int256": _integer(is_signed=True),
    "UInt128": _integer(is_signed=False),
    "UInt256": _integer(is_signed=False),
}
