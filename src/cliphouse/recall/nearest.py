"""The exact nearest rows of many queries, by matrix products over blocks of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cliphouse.vocabulary import Metric

# Scores are compared in steps of 1 / _STEPS: two rows of the same vector are then equally near,
# which the last bits of a product of matrices are not, and the lower id comes first, as in the
# engine's exact search.
_STEPS = 2**22


class Nearest:
    """The ``depth`` nearest of all rows that were added, for each query, float32 of shape
    (queries, dim). Memory grows with queries x depth and with the rows that are added at once."""

    def __init__(self, queries: NDArray[np.float32], metric: Metric, depth: int) -> None:
        lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries))
        scale = lengths if metric == "cosine" else lengths**2
        with np.errstate(divide="ignore"):
            self._scale = np.where(scale > 0, _STEPS / scale, 0).astype(np.float32)
        self._queries = queries
        self._metric = metric
        self._depth = depth
        # One entry for each query and row that is among the nearest so far, sorted by the query,
        # the nearest first.
        self._query = np.empty(0, dtype=np.int64)
        self._nearness = np.empty(0, dtype=np.float32)
        self._id = np.empty(0, dtype=np.int64)
        self._least = np.full(len(queries), -np.inf, dtype=np.float32)

    def add(self, ids: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        """Compare ``rows``, float32 of shape (rows, dim), with every query. Rows of no direction,
        or with NaN, are left out."""
        nearness = self._nearness_of(rows)
        least = self._least
        if len(rows) > self._depth and not np.isfinite(least).all():
            # Otherwise every row of the first block would be sorted.
            place = len(rows) - self._depth
            own = np.partition(nearness, place, axis=1)[:, place]
            least = np.maximum(least, own)
        near = (nearness >= least[:, None]) & np.isfinite(nearness)
        query, row = np.nonzero(near)
        self._merge(query, nearness[near], ids[row])

    def ids(self) -> list[list[int]]:
        """The ids of each query's nearest rows, the nearest first; ids in rising order if rows are
        equally near. Fewer than ``depth`` if there are fewer rows."""
        ends = np.searchsorted(self._query, np.arange(1, len(self._queries)))
        found: list[list[int]] = [part.tolist() for part in np.split(self._id, ends)]
        return found

    def scores(self) -> list[list[float]]:
        """The cosine similarities of ``ids``. Only for the metric cosine."""
        ends = np.searchsorted(self._query, np.arange(1, len(self._queries)))
        scores: list[list[float]] = [
            (part / _STEPS).tolist() for part in np.split(self._nearness, ends)
        ]
        return scores

    def _nearness_of(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whole numbers that rank rows as the metric does, the nearest highest: float32 of shape
        (queries, rows)."""
        with np.errstate(all="ignore"):
            products: NDArray[np.float32] = self._queries @ rows.T
            squares = np.einsum("ij,ij->i", rows, rows)
            if self._metric == "cosine":
                products /= np.sqrt(squares)
            else:
                products *= 2
                products -= squares
            products *= self._scale[:, None]
            np.rint(products, out=products)
        products[np.isnan(products)] = -np.inf
        return products

    def _merge(
        self,
        query: NDArray[np.int64],
        nearness: NDArray[np.float32],
        ids: NDArray[np.int64],
    ) -> None:
        query = np.concatenate((self._query, query))
        nearness = np.concatenate((self._nearness, nearness))
        ids = np.concatenate((self._id, ids))
        order = np.lexsort((ids, -nearness, query))
        query = query[order]
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        kept = order[rank < self._depth]
        self._query, self._nearness, self._id = query[rank < self._depth], nearness[kept], ids[kept]
        last = np.searchsorted(self._query, np.arange(len(self._queries)), side="right")
        counts = np.diff(last, prepend=0)
        full = counts == self._depth
        self._least[full] = self._nearness[last[full] - 1]
