"""Which ways of searching the engine lets this user take: a server may forbid settings."""

from __future__ import annotations

from cliphouse.engine.features import LIMIT, MULTIPLIER, USE_CODES, WIDTH
from cliphouse.schema.facts import TableFacts

# More candidates of the index than asked for are compared exactly, since its own copy of the
# vectors is rounded: 20 more bring back what bfloat16 loses (docs/benchmarks/search.md).
SPARE_CANDIDATES = 20


def most_rows(width: int, needed: int) -> int:
    """The rows up to which a search may use an index; above the engine's own limit it would
    silently scan them all."""
    return 10 * max(width, needed)


def is_allowed(facts: TableFacts, mode: str, width: int, needed: int) -> bool:
    """Whether a search for ``needed`` rows can go this way, at just this width."""
    features = facts.features
    if mode == "exact" or features.settings is None:
        return True
    if mode == "codes":
        return features.may_set(USE_CODES, 1) and features.may_set(MULTIPLIER, width)
    fixed = features.fixed_width
    if not (features.may_set(WIDTH, width) if fixed is None else width == fixed):
        return False
    limit = int(features.value(LIMIT) or 0)
    reaches = needed + SPARE_CANDIDATES <= limit or features.may_set(
        LIMIT, most_rows(width, needed)
    )
    return reaches and needed <= width
