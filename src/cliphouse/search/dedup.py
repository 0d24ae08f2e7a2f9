"""Near-duplicates among hits: found by their stored vectors, folded into the nearest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cliphouse.search.hits import Hit

_BLOCK = 256  # rows that one product of matrices compares with all kept so far


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
    folded: dict[int, int] = {}
    for start in range(0, len(hits), _BLOCK):
        block = unit[start : start + _BLOCK]
        before = len(kept)
        candidates = [*kept, *range(start, start + len(block))]
        is_kept = np.arange(len(candidates)) < before
        alike = block @ unit[candidates].T >= threshold
        for place in range(before, len(candidates)):
            nearer = alike[place - before] & is_kept
            if nearer.any():
                first = candidates[int(np.argmax(nearer))]
                folded[first] = folded.get(first, 0) + 1
            else:
                is_kept[place] = True
                kept.append(candidates[place])
    return [replace(hits[position], folded=folded.get(position, 0)) for position in kept]
