"""JSON as the command line and the service write it."""

from __future__ import annotations

import json
import uuid
from collections import namedtuple
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cliphouse.json_text import to_json, to_json_bytes, to_json_texts

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Point:
    x: int


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.floats(width=32).map(np.float32)
    | st.floats().map(np.float64)
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers(-(2**63), 2**63 - 1), inner)
    ),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_the_service_writes_the_values_that_the_command_line_writes(document: Any) -> None:
    assert json.loads(to_json_bytes(document)) == json.loads(to_json(document))


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("-inf"),
        np.float64("nan"),
        [np.float64(0.1), np.float32(0.1), np.int64(3), np.bool_(True)],
        2**70,
        -(2**63),
        2**64 - 1,
        0.1,
        1e-7,
        1e300,
        datetime(2024, 5, 1, 12, 30),
        date(2024, 5, 1),
        Decimal("1.50"),
        uuid.UUID(int=5),
        b"raw",
        Pair(1, float("nan")),
        Point(1),
        "Grüße \U0001f600 \x00 \u2028 </script>",
        {2: "a", None: "b", True: "c"},
    ],
)
def test_unusual_values_too(value: Any) -> None:
    assert json.loads(to_json_bytes({"it": value})) == json.loads(to_json({"it": value}))


@given(st.lists(LEAVES))
def test_scalars_are_written_one_by_one(scalars: list[Any]) -> None:
    """Whatever is in them, line breaks and quotes and commas too."""
    assert to_json_texts(scalars) == [to_json_bytes(scalar) for scalar in scalars]


def test_json_has_no_nan() -> None:
    assert to_json_bytes([float("nan"), float("inf"), 1.5]) == b"[null,null,1.5]"
