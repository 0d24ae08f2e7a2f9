"""Folding near-duplicates, against the rule applied pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cliphouse.search.dedup import fold_duplicates
from cliphouse.search.hits import Hit


def by_the_rule(vectors: NDArray[np.float32], threshold: float) -> dict[int, int]:
    """Each kept row and how many were folded into it: the first kept row that is alike."""
    kept: dict[int, int] = {}
    for row, vector in enumerate(vectors.astype(np.float64)):
        for other in kept:
            reference = vectors[other].astype(np.float64)
            cosine = vector @ reference / np.linalg.norm(vector) / np.linalg.norm(reference)
            if cosine >= threshold:
                kept[other] += 1
                break
        else:
            kept[row] = 0
    return kept


@pytest.mark.parametrize("rows", [0, 1, 2, 255, 256, 257, 700])
@pytest.mark.parametrize("spread", [0.05, 0.3, 3.0])
def test_rows_alike_are_folded_into_the_first(rows: int, spread: float) -> None:
    rng = np.random.default_rng(rows)
    centres = rng.standard_normal((20, 16))
    noise = spread * rng.standard_normal((rows, 16))
    vectors = (centres[rng.integers(0, 20, rows)] + noise).astype(np.float32)
    hits = [Hit(id=1000 + row, score=0.0, distance=0.0) for row in range(rows)]
    folded = fold_duplicates(hits, vectors.reshape(rows, 16), 0.94)
    assert {hit.id - 1000: hit.folded for hit in folded} == by_the_rule(vectors, 0.94)
