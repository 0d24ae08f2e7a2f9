"""The vector that is searched for, and what kind of query it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cliphouse.errors import QueryError
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.vocabulary import MODALITIES, Modality

Kind = Literal["text", "image", "vector", "mixed"]

_MEAN_ROWS = 512
# Beyond these the squares of the numbers leave the range of float32, in which the engine computes.
_SHORTEST, _LONGEST = 1e-12, 1e12


@dataclass(frozen=True)
class QueryVector:
    """A query's vector, float32 of shape (dim,), and what it came from: words, pictures (or rows'
    own embeddings of either kind), a bare vector, or a mixture of these."""

    values: NDArray[np.float32]
    kind: Kind


def check_vector(vector: NDArray[Any], name: str, dim: int, table: str) -> NDArray[np.float32]:
    """A vector of shape (dim,) or (1, dim) for ``table``, as float32 of shape (dim,).

    Raises QueryError, which calls it ``name``, if it is of another shape or has no direction.
    """
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    is_real = np.issubdtype(vector.dtype, np.floating) or np.issubdtype(vector.dtype, np.integer)
    if vector.ndim != 1 or not is_real:
        raise QueryError(f"{name}: shape {vector.shape}, but a query is one vector of numbers")
    if len(vector) != dim:
        raise QueryError(f"{name}: dimension {len(vector)}, but table {table} has {dim}")
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not _SHORTEST <= length <= _LONGEST:
        raise QueryError(
            f"{name}: NaN, infinity, only zeros or of length {length:g}; such a vector finds "
            "nothing"
        )
    return np.ascontiguousarray(vector, dtype=np.float32)


def weighted_sum(vectors: Sequence[QueryVector], weights: Sequence[float]) -> QueryVector:
    """The sum of the vectors, each scaled to length 1 and weighted, scaled to length 1. A single
    vector stays as it is.

    Raises QueryError if nothing is left of them.
    """
    if len(vectors) == 1:
        return vectors[0]
    parts = [w * v.values / np.linalg.norm(v.values) for v, w in zip(vectors, weights, strict=True)]
    total: NDArray[np.float64] = np.sum(np.array(parts, dtype=np.float64), axis=0)
    length = float(np.linalg.norm(total))
    if length < 1e-4 * sum(map(abs, weights)):
        raise QueryError("what is added and what is subtracted cancel out; nothing is left to find")
    kinds = {vector.kind for vector in vectors}
    # A difference lies outside the cloud that its operands lie in.
    is_plain = len(kinds) == 1 and min(weights) > 0
    unit: NDArray[np.float32] = (total / length).astype(np.float32)
    return QueryVector(unit, kinds.pop() if is_plain else "mixed")


def mean_directions(table: TableHandle) -> dict[Modality, NDArray[np.float32]]:
    """The direction of the mean of some of the table's image embeddings and of its text embeddings,
    each float32 of shape (dim,)."""
    means = ", ".join(
        f"avgForEach(CAST({embedding_column(m)}, 'Array(Float32)')) AS {m}" for m in MODALITIES
    )
    found = table.connection.query(
        f"SELECT {means} FROM (SELECT * FROM {table.sql} LIMIT {_MEAN_ROWS})"
    ).to_pylist()[0]
    vectors = {m: np.array(found[m], dtype=np.float32) for m in MODALITIES}
    return {m: vector / np.float32(np.linalg.norm(vector)) for m, vector in vectors.items()}


def recognise(vector: QueryVector, means: dict[Modality, NDArray[np.float32]]) -> QueryVector:
    """A bare vector, known as text or image by which mean's direction is nearer to its own. CLIP's
    two kinds of vectors lie so far apart that this is certain."""
    is_image = vector.values @ means["image"] > vector.values @ means["text"]
    return QueryVector(vector.values, "image" if is_image else "text")
