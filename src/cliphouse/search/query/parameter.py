"""A query's vector as a parameter of the statement."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cliphouse.loading.bfloat16 import bfloat16_bits
from cliphouse.vocabulary import Precision


@dataclass(frozen=True)
class EncodedVector:
    """A vector as the value of a query parameter: its bytes in base64.

    It is no str, whose characters the driver would escape one by one: a third of a millisecond for
    512 numbers. The driver takes the text of a value of any other class as it is, and base64 has
    nothing to escape.
    """

    base64: str

    def __str__(self) -> str:
        return self.base64


def encode_parameter(values: NDArray[np.float32], precision: Precision) -> EncodedVector:
    """A vector for a query parameter, 4 or 2 bytes a number."""
    if precision == "bfloat16":
        data = (bfloat16_bits(values) >> 16).astype("<u2").tobytes()
    else:
        data = values.astype("<f4").tobytes()
    return EncodedVector(base64.b64encode(data).decode())


def decode_expression(parameter: str, precision: Precision) -> str:
    """The SQL that makes a vector of such a parameter, folded to a constant before the search.

    It parses 3.6 times faster than an array literal of 512 numbers."""
    element = "BFloat16" if precision == "bfloat16" else "Float32"
    return f"reinterpret(base64Decode({{{parameter}:String}}), 'Array({element})')"
