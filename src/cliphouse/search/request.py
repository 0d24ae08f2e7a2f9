"""What is asked of a table, apart from the vector."""

from __future__ import annotations

import hashlib
import operator
from dataclasses import dataclass
from typing import Any, Literal

from cliphouse.errors import QueryError
from cliphouse.search.filter import Filter
from cliphouse.search.paging import Cursor
from cliphouse.vocabulary import METRICS, Metric, Modality

Mode = Literal["auto", "exact", "codes", "hnsw"]
MODES: tuple[Mode, ...] = ("auto", "exact", "codes", "hnsw")

MAX_K = 100_000
MAX_EF = 100_000
MAX_OVERSAMPLING = 1000  # the engine's own limit for vector_search_index_fetch_multiplier


@dataclass(frozen=True)
class Request:
    """A search: ``k`` rows after the first ``offset``, or after the place a ``cursor`` marks.

    ``where`` is a SQL condition, ``filter`` one for programs; both must hold. ``ef`` is the width
    of mode hnsw, ``oversampling`` how many times k rows mode codes compares exactly. ``dedup`` is
    the cosine similarity from which a row is a near-duplicate of a nearer one and left out. No
    search goes deeper than MAX_K rows.

    Raises QueryError where a value is out of its range.
    """

    k: int = 10
    modality: Modality = "image"
    where: str | None = None
    metric: Metric = "cosine"
    mode: Mode = "auto"
    ef: int | None = None
    oversampling: int | None = None
    filter: Filter | None = None
    dedup: float | None = None
    offset: int = 0
    cursor: Cursor | None = None

    def __post_init__(self) -> None:
        one_of("mode", self.mode, MODES)
        one_of("metric", self.metric, METRICS)
        _between("k", self.k, 1, MAX_K)
        _between("offset", self.offset, 0, MAX_K)
        _between("k + offset", self.k + self.offset, 1, MAX_K)
        if self.ef is not None:
            _between("ef", self.ef, 1, MAX_EF)
            _only_for("ef", self.mode, "hnsw")
        if self.oversampling is not None:
            _between("oversampling", self.oversampling, 1, MAX_OVERSAMPLING)
            _only_for("oversampling", self.mode, "codes")
        if self.dedup is not None and not 0 < self.dedup <= 1:
            raise QueryError(f"dedup is {self.dedup}; it is a cosine similarity above 0, up to 1")
        if self.offset and self.cursor:
            raise QueryError("give an offset or a cursor, not both")
        if self.cursor and self.cursor.of != self.fingerprint:
            raise QueryError(
                "the cursor is of a search with another filter, metric, modality or dedup; leave "
                "it out for the first page"
            )

    @property
    def needed(self) -> int:
        """How many of the nearest rows it takes to fill this page."""
        return min(self.k + (self.cursor.seen if self.cursor else self.offset), MAX_K)

    @property
    def fingerprint(self) -> str:
        """Of all that must be alike from page to page."""
        filters = (self.where or None, self.filter or None)
        alike = (self.modality, self.metric, *filters, self.dedup)
        return hashlib.sha256(repr(alike).encode()).hexdigest()[:12]

    @property
    def is_filtered(self) -> bool:
        return bool(self.where) or bool(self.filter)


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises QueryError where ``value`` is none of those allowed."""
    if value not in allowed:
        raise QueryError(f"{option} {value!r}: it must be one of {', '.join(allowed)}")


def _only_for(option: str, mode: str, wanted: str) -> None:
    if mode != wanted:
        raise QueryError(f"{option} is the width of mode {wanted}, not of mode {mode}")


def _between(option: str, value: Any, least: int, most: int) -> None:
    try:
        operator.index(value)
    except TypeError:
        raise QueryError(f"{option} is {value!r}; it must be a whole number") from None
    if not least <= value <= most:
        raise QueryError(f"{option} is {value}; it must be {least} to {most:,}")
