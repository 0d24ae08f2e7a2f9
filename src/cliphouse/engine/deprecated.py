"""Older SQL that the engine no longer takes: a function's spelling, and two index types."""

from __future__ import annotations

import re

from cliphouse.engine.statements import replace_outside_strings
from cliphouse.errors import CliphouseError, QueryError

_RENAMED_FUNCTIONS = {"l2Distance": "L2Distance"}
_REMOVED_INDEX = re.compile(r"Unknown Index type '(annoy|usearch)'")
_INDEX = re.compile(
    r"\bTYPE\s+(?:annoy|usearch)\b\s*(?:\(\s*(?:'(?P<distance>\w+)')?[^)]*\))?", re.IGNORECASE
)


def with_current_function_names(statement: str) -> str:
    """The statement with renamed functions under their current names."""
    for old, new in _RENAMED_FUNCTIONS.items():
        statement = replace_outside_strings(statement, rf"\b{old}(?=\s*\()", new)
    return statement


def suggest_current_index(error: CliphouseError, statement: str) -> CliphouseError:
    """The error, or an error with a working statement if the engine refused a removed index type.

    If an old statement names no distance, the new one has L2Distance, which Annoy used.
    """
    match = _REMOVED_INDEX.search(str(error))
    if match is None:
        return error
    suggestion = _INDEX.sub(
        lambda index: f"TYPE vector_similarity('hnsw', '{index['distance'] or 'L2Distance'}', 512)",
        statement,
    )
    return QueryError(
        f"the engine no longer has the index type {match[1]}; use vector_similarity, which needs "
        f"the length of the vectors (here 512): {' '.join(suggestion.split())}"
    )
