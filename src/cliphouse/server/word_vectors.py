"""The vectors of the words that clients searched for last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from cliphouse.server.metrics import Metrics

MOST_BYTES = 20_000_000  # some 7,000 short texts, with vectors of 512 dimensions
_OBJECTS = 750  # bytes of an entry's Python objects and of its place in the cache, about
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class _Entry:
    vector: Vector
    bytes: int


class WordVectors:
    """Keeps the vectors of the words that were searched for last, in up to ``most_bytes``.

    Models do not share vectors. The metrics count the words that are found and those that are not.
    Call it from one thread.
    """

    def __init__(self, metrics: Metrics, most_bytes: int = MOST_BYTES) -> None:
        self._metrics = metrics
        self._kept: LRUCache[tuple[str, str], _Entry] = LRUCache(
            most_bytes, lambda entry: entry.bytes
        )

    @property
    def bytes(self) -> int:
        """The memory of the vectors and their words, about."""
        return int(self._kept.currsize)

    def get(self, model: str, words: str) -> Vector | None:
        """The vector of ``words`` by ``model``, float32 of shape (dim,) and read-only; None if it
        is not kept."""
        entry = self._kept.get((model, words))
        if entry is None:
            self._metrics.word_misses.inc()
            return None
        self._metrics.word_hits.inc()
        return entry.vector

    def keep(self, model: str, words: str, vector: Vector) -> None:
        """Keep a vector of shape (dim,). The words used longest ago make room for it."""
        own = vector.copy()  # it may be a row of a batch, which would stay in memory whole
        own.flags.writeable = False
        size = own.nbytes + len(words.encode("utf-8", "surrogatepass")) + _OBJECTS
        if size <= self._kept.maxsize:
            self._kept[model, words] = _Entry(own, size)
