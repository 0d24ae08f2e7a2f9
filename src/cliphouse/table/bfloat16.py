"""BFloat16: the upper half of a float32, rounded to the nearest, ties to even."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """float32 to float32 bit patterns whose lower 16 bits are zero, rounded to nearest-even.

    ClickHouse truncates when it makes BFloat16 of Float32, which after this changes nothing.
    Finite values only.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded: NDArray[np.uint32] = bits + 0x7FFF + ((bits >> 16) & 1)
    rounded &= np.uint32(0xFFFF0000)
    return rounded


def round_to_bfloat16(rows: pa.Table, column: str) -> pa.Table:
    """``rows`` with a fixed-size list column of float32 rounded to what BFloat16 can hold."""
    index = rows.schema.get_field_index(column)
    lists = rows.column(index).combine_chunks()
    values = bfloat16_bits(lists.flatten().to_numpy()).view(np.float32)
    rounded = pa.FixedSizeListArray.from_arrays(pa.array(values), lists.type.list_size)
    return rows.set_column(index, column, rounded)
