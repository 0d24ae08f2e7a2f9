"""What older guides say and the engine no longer takes: a spelling, and index types."""

from __future__ import annotations

import re

from cliphouse.engine.statements import replace_outside_strings
from cliphouse.errors import CliphouseError, QueryError

_SPELLINGS = {"l2Distance": "L2Distance"}
_REFUSED = re.compile(r"Unknown Index type '(annoy|usearch)'")
_INDEX = re.compile(
    r"\bTYPE\s+(?:annoy|usearch)\b\s*(?:\(\s*(?:'(?P<distance>\w+)')?[^)]*\))?", re.IGNORECASE
)


def respelled(statement: str) -> str:
    """The statement with functions as the engine spells them today."""
    for old, new in _SPELLINGS.items():
        statement = replace_outside_strings(statement, rf"\b{old}(?=\s*\()", new)
    return statement


def with_replacement(error: CliphouseError, statement: str) -> CliphouseError:
    """``error``, or where the engine refused a retired index type, one that gives the same
    statement with the index that took its place. Annoy's own distance was L2Distance."""
    match = _REFUSED.search(str(error))
    if match is None:
        return error
    instead = _INDEX.sub(
        lambda index: f"TYPE vector_similarity('hnsw', '{index['distance'] or 'L2Distance'}', 512)",
        statement,
    )
    return QueryError(
        f"the engine no longer has the index type {match[1]}; vector_similarity took its place, "
        f"with the length of the vectors (here 512): {' '.join(instead.split())}"
    )
