"""Which vectors are alike: groups that are connected by pairs of a high cosine similarity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cliphouse.vocabulary import Progress

_BLOCK = 1024
_SLACK = 1e-6  # a product of two equal vectors of length 1 may be a little less than 1


def connected(
    vectors: NDArray[np.float32], threshold: float, progress: Progress | None = None
) -> list[NDArray[np.intp]]:
    """The places of vectors, of length 1, that are connected by pairs of at least this cosine
    similarity, two or more each.

    All pairs are compared, in blocks that take a few megabytes. ``progress`` may raise to stop.
    """
    total = len(vectors)
    groups = _Groups(total)
    compared, pairs = 0, total * (total + 1) // 2
    for start in range(0, total, _BLOCK):
        block = vectors[start : start + _BLOCK]
        for other in range(start, total, _BLOCK):
            alike = block @ vectors[other : other + _BLOCK].T >= threshold - _SLACK
            if alike.any():
                groups.join(alike, start, other)
        compared += len(block) * (total - start) - len(block) * (len(block) - 1) // 2
        if progress:
            progress(compared * total // pairs, total)
    return groups.of_two_or_more()


class _Groups:
    """Groups of the numbers below ``count``, each by itself at first. The label of a group is its
    least number."""

    def __init__(self, count: int) -> None:
        self._labels = np.arange(count)

    def join(self, alike: NDArray[np.bool_], start: int, other: int) -> None:
        """Join the groups of ``start + n`` and ``other + m`` for each ``alike[n, m]``.

        A round hooks each label to the least that it meets. In a step of Python for each pair,
        pictures that are all alike, as frames of a video may be, would take minutes."""
        while True:
            mine = self._labels[start : start + alike.shape[0], None]
            theirs = self._labels[None, other : other + alike.shape[1]]
            rows, columns = np.nonzero(alike & (mine != theirs))
            if not len(rows):
                return
            low, high = np.sort((mine[rows, 0], theirs[0, columns]), axis=0)
            np.minimum.at(self._labels, high, low)
            while not np.array_equal(labels := self._labels[self._labels], self._labels):
                self._labels = labels

    def of_two_or_more(self) -> list[NDArray[np.intp]]:
        order = np.argsort(self._labels, kind="stable")
        ends = np.flatnonzero(np.diff(self._labels[order])) + 1
        return [places for places in np.split(order, ends) if len(places) > 1]
