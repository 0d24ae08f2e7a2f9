"""Counts what the tests do to the program: how often it is killed, which faults it meets.

The counts of a test are in the report of a run (pytest --junitxml), of which tools/reliability.py
makes the figures of docs/reliability.md.
"""

from __future__ import annotations

from collections import Counter

counted: Counter[str] = Counter()  # of the test that runs


def count(what: str, number: int = 1) -> None:
    """Count ``what`` (kills, faults, interrupts ...) for the test that runs now."""
    counted[what] += number
