"""ClickHouse's RowBinary, as far as the functions need it: strings in, vectors out.

A length is a LEB128 number; a string is its length and its bytes, an array its length and its
elements. Nothing in it is escaped or interpreted.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

EMPTY_ARRAY = b"\0"


def read_string(stream: BinaryIO) -> bytes:
    """The next string. Raises EOFError where the stream ends in it."""
    length = shift = 0
    while True:
        byte = _read(stream, 1)[0]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return _read(stream, length)
        shift += 7


def array_bytes(vector: NDArray[np.float32]) -> bytes:
    """A vector of shape (n,), float32, as Array(Float32)."""
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
