"""From which score down the hits of a search are no better than unrelated rows would be."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cliphouse.engine.arrays import vectors_of
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.vocabulary import Modality

SAMPLE_ROWS = 1000
LEAST_ROWS = 50  # fewer rows say nothing of a table
MOST_SPREADS = 3.0
_SPOTS = 100
_SPREAD_OF_MEDIAN = 1.4826  # of a normal distribution, in median distances from its median


@dataclass(frozen=True)
class Background:
    """Some rows of a table of ``rows`` rows, by their embeddings of length 1, float32 of shape
    (sample, dim), against which the hits of any query are judged."""

    vectors: NDArray[np.float32]
    rows: int

    def weak_below(self, vector: NDArray[np.float32]) -> float | None:
        """The score that only one row of the table would reach if all were as unrelated to the
        query as most are; a hit below it is weak. None if the table is too small to say.

        The scores of the sample make a normal distribution by their median and their median
        distance from it, which the few rows that match do not shift. A hit beyond three times its
        spread is never weak: in a large table one row by chance would leave no match strong.
        """
        if len(self.vectors) < LEAST_ROWS:
            return None
        scores = self.vectors @ (vector / np.linalg.norm(vector))
        middle = float(np.median(scores))
        spread = _SPREAD_OF_MEDIAN * float(np.median(np.abs(scores - middle)))
        return middle + min(NormalDist().inv_cdf(1 - 1 / max(self.rows, 2)), MOST_SPREADS) * spread


def read_background(table: TableHandle, facts: TableFacts, modality: Modality) -> Background:
    """Read about SAMPLE_ROWS rows: of a small table by a hash of their ids, of a large one in
    stretches evenly over its largest part, and at the same places of the others."""
    if facts.largest_part > _SPOTS * SAMPLE_ROWS:
        step, each = facts.largest_part / _SPOTS, SAMPLE_ROWS // _SPOTS
        starts = [int((i + 0.5) * step) for i in range(_SPOTS)]
        where = " OR ".join(f"_part_offset BETWEEN {s} AND {s + each - 1}" for s in starts)
    else:
        where = f"cityHash64(id) % {max(1, facts.rows // SAMPLE_ROWS)} = 0"
    found = table.connection.query(
        f"SELECT CAST({embedding_column(modality)}, 'Array(Float32)') AS query_vector "
        f"FROM {table.sql} WHERE {where} LIMIT {4 * SAMPLE_ROWS}"
    )
    vectors = vectors_of(found.column("query_vector"), facts.info.dim)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = (lengths > 0) & np.isfinite(lengths)
    return Background(vectors[whole[:, 0]] / lengths[whole[:, 0]], facts.rows)
