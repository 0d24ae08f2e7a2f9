"""Reading strings and writing vectors in ClickHouse's format RowBinary.

A length is a LEB128 number; a string is its length and its bytes, an array its length and its
elements. Nothing is escaped.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

EMPTY_ARRAY = b"\0"


def read_string(stream: BinaryIO) -> bytes:
    """Read the next string. Raises EOFError if the stream ends before the end of the string."""
    length = shift = 0
    while True:
        byte = _read(stream, 1)[0]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return _read(stream, length)
        shift += 7


def array_bytes(vector: NDArray[np.float32]) -> bytes:
    """Encode a vector, float32 of shape (n,), as Array(Float32)."""
    return _length(len(vector)) + vector.astype("<f4").tobytes()


def _length(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
