"""Near-duplicates among hits: found by their stored vectors, folded into the nearest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cliphouse.table.search.results import Hit


def fold_duplicates(
    hits: Sequence[Hit], vectors: NDArray[np.float32], threshold: float
) -> list[Hit]:
    """The hits, nearest first, without those whose cosine similarity to a nearer kept one is
    ``threshold`` or more; each kept hit counts what was folded into it.

    ``vectors`` has the hits' embeddings, float32 of shape (len(hits), dim). One of only zeros is
    like nothing.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    kept: list[int] = []
    kept_vectors = np.empty_like(unit)
    folded: dict[int, int] = {}
    for position, vector in enumerate(unit):
        alike = kept_vectors[: len(kept)] @ vector >= threshold
        if alike.any():
            first = kept[int(np.argmax(alike))]
            folded[first] = folded.get(first, 0) + 1
        else:
            kept_vectors[len(kept)] = vector
            kept.append(position)
    return [replace(hits[position], folded=folded.get(position, 0)) for position in kept]
