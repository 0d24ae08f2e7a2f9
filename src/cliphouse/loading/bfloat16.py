"""BFloat16: the upper half of a float32, rounded to the nearest, ties to even."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_LARGEST_HALF = 65_280.0  # the largest float16 that BFloat16 holds too


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Round float32 values to BFloat16, nearest-even; returns the bits of the rounded float32
    values, whose lower 16 bits are zero.

    ClickHouse truncates when it converts Float32 to BFloat16, which changes nothing after this.
    Finite values only.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded: NDArray[np.uint32] = bits + 0x7FFF + ((bits >> 16) & 1)
    rounded &= np.uint32(0xFFFF0000)
    return rounded


@cache
def _rounded_halves() -> NDArray[np.float16]:
    """A table of every float16, by its bits, rounded to BFloat16.

    A rounded float16 is a float16 again, except those above _LARGEST_HALF.
    """
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        return bfloat16_bits(halves).view(np.float32).astype(np.float16)


def round_to_bfloat16(rows: pa.Table, column: str) -> pa.Table:
    """``rows`` with one column, fixed-size lists of float16 or float32, rounded to values that
    BFloat16 holds. The column keeps its type. Finite values only."""
    index = rows.schema.get_field_index(column)
    lists = rows.column(index).combine_chunks()
    values = lists.flatten().to_numpy()
    if values.dtype == np.float16 and np.abs(values).max(initial=0) <= _LARGEST_HALF:
        values = _rounded_halves()[values.view(np.uint16)]
    else:
        values = bfloat16_bits(values.astype(np.float32)).view(np.float32)
    rounded = pa.FixedSizeListArray.from_arrays(pa.array(values), lists.type.list_size)
    return rows.set_column(index, column, rounded)
