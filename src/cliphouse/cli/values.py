"""Values as ClickHouse's own client writes them: 1234567.89, [1,2,NULL], (1,'x') and {'a':1}."""

from __future__ import annotations

import struct
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    import pyarrow as pa

_IN_QUOTES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
)
_TEXTS = (str, date, time, UUID)  # what has quotes within a list
_LOW, _HIGH = -6, 21  # a number has an exponent below and from these powers of ten


def value_text(value: Any, kind: pa.DataType | None, most: int | None = None) -> str:
    """A value of a column of the type ``kind`` as text; a type that is not known is None. Of a list
    no more than the first ``most`` items are written. A time has its zone, which the client leaves
    out."""
    return str(value) if isinstance(value, _TEXTS) else _inner_text(value, kind, most)


def _inner_text(value: Any, kind: pa.DataType | None, most: int | None) -> str:
    """A value as it is written within a list."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _without_exponent(_shortest(value, kind))
    if isinstance(value, Decimal):
        return _without_exponent(str(value))
    if isinstance(value, _TEXTS):
        return "'" + str(value).translate(_IN_QUOTES) + "'"
    if isinstance(value, dict):
        items = (_inner_text(v, _inner(kind, n), most) for n, v in enumerate(value.values()))
        return f"({','.join(items)})"
    if isinstance(value, list | tuple):
        return _list_text(value, kind, most)
    return str(value)


def _list_text(values: Any, kind: pa.DataType | None, most: int | None) -> str:
    """A list, or a map, which is a list of pairs in Arrow."""
    import pyarrow as pa

    if kind is not None and pa.types.is_map(kind):
        pairs = (
            f"{_inner_text(key, kind.key_type, most)}:{_inner_text(value, kind.item_type, most)}"
            for key, value in values[:most]
        )
        return f"{{{','.join(pairs)}}}"
    return f"[{','.join(_inner_text(value, _inner(kind, 0), most) for value in values[:most])}]"


def _inner(kind: pa.DataType | None, place: int) -> pa.DataType | None:
    """The type of a list's items, or of a tuple's item at ``place``."""
    import pyarrow as pa

    if kind is None or pa.types.is_union(kind) or place >= kind.num_fields:
        return None
    return kind.field(place).type


def _shortest(value: float, kind: pa.DataType | None) -> str:
    """The shortest text that reads back as the same value, of 32 bits if the type has so many."""
    import pyarrow as pa

    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    if kind is None or not pa.types.is_float32(kind):
        return repr(value)
    texts = (f"{value:.{digits}g}" for digits in range(1, 9))
    return next((text for text in texts if _as_single(text) == value), f"{value:.9g}")


def _as_single(text: str) -> float | None:
    """The number of 32 bits that ``text`` is read as, None if it is too large for one."""
    try:
        (value,) = struct.unpack("<f", struct.pack("<f", float(text)))
    except OverflowError:
        return None
    return float(value)


def _without_exponent(text: str) -> str:
    """A number with an exponent if it is very large or small only, and no zeros at its end."""
    number = Decimal(text)
    if not number.is_finite():
        return text
    if number and not _LOW <= number.adjusted() < _HIGH:
        return f"{number.normalize():e}".replace("e+", "e")
    plain = f"{number:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
