"""Figures and times in words, for output and messages."""

from __future__ import annotations

from datetime import datetime


def counted(number: int, one: str) -> str:
    """A number with its noun, which gets an s unless it is one: 1 part, 5,000 parts."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def moment(at: datetime, seconds: bool = False) -> str:
    """A time as this machine's clock shows it, with its zone: 2026-05-04 10:20 CEST."""
    return f"{at.astimezone():%Y-%m-%d %H:%M{':%S' if seconds else ''} %Z}"
