"""Figures and times in words, for output and messages."""

from __future__ import annotations

import re
from datetime import datetime

# They turn the text after them round, so that a file can seem to have another suffix.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def counted(number: int, one: str) -> str:
    """A number with its noun, which gets an s unless it is one: 1 part, 5,000 parts."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def moment(at: datetime, seconds: bool = False) -> str:
    """A time as this machine's clock shows it, with its zone: 2026-05-04 10:20 CEST."""
    return f"{at.astimezone():%Y-%m-%d %H:%M{':%S' if seconds else ''} %Z}"


def in_order(text: str) -> str:
    """``text`` with its letters in the order in which they are shown: the characters that change
    the direction of writing are written out, as in ``\\u202e``."""
    return _TURNING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def size(count: float) -> str:
    """Bytes as text, as in 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
