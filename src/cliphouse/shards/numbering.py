"""The numbers of shards, and the ids that their rows get."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cliphouse.errors import UserError

ID_BITS = 32  # id = shard * 2**32 + row
MAX_SHARD = 2**20  # ids (shard * 2**32 + row) stay below 2**53, which JavaScript keeps exactly


def parse_shard_numbers(text: str) -> set[int] | None:
    """Read shard numbers such as ``0-9,12,400-409``; None means ``all``.

    Raises UserError if a part is neither a number nor a rising range.
    """
    if text.strip() == "all":
        return None
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= MAX_SHARD:
            raise UserError(
                f"shards {text!r}: {part.strip()!r} is not a shard number or range; "
                "write them as in 0-9,12,400-409, or all"
            )
        numbers.update(range(first, last + 1))
    return numbers


def format_shard_numbers(numbers: Iterable[int]) -> str:
    """Write ascending shard numbers in the form that parse_shard_numbers reads: 0-9,12."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in spans)
