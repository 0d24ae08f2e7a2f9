"""How many examples the tests with random input try.

`make test` tries a few of each, and `make test-thorough` as many as are worth half an hour.
"""

from __future__ import annotations

import os

IS_THOROUGH = os.environ.get("THOROUGH") == "1"


def examples(quick: int, thorough: int) -> int:
    return thorough if IS_THOROUGH else quick
