"""What a search gives back: the hits, and how they were found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

# The columns a hit shows, as far as its table has them.
DETAILS = ("url", "caption", "NSFW", "width", "height", "license")


@dataclass(frozen=True)
class Hit:
    """A found row. ``distance`` is to the query, in the search's metric; ``similarity`` is the
    cosine similarity to the query; ``pair_similarity`` that of the row's own picture and caption
    (the table's column similarity, NaN where unknown). ``folded`` counts the near-duplicates that
    were left out in its favour."""

    id: int
    similarity: float
    distance: float
    url: str = ""
    caption: str = ""
    NSFW: str = ""
    pair_similarity: float = float("nan")
    width: int = 0
    height: int = 0
    license: str = ""
    folded: int = 0


@dataclass(frozen=True)
class SearchStats:
    """How a search was done.

    ``width`` is the ef of mode hnsw or the oversampling of mode codes. ``recall`` is the measured
    recall@k of this mode and width for this kind of query (1.0 for exact, None where it was not
    measured); ``reason`` says why the mode was taken and ``filtered`` what was done about a filter
    (empty without one). Times are in milliseconds. ``rows_read`` counts the rows that an
    embedded engine read, None where it was not asked to count.
    """

    mode: str
    width: int | None
    recall: float | None
    reason: str
    filtered: str
    metric: str
    modality: str
    query: str
    k: int
    encode_ms: float
    search_ms: float
    rows_read: int | None = None


@dataclass(frozen=True)
class SearchResult(Sequence[Hit]):
    """The hits, nearest first, with how they were found (``stats``) and the statement (``sql``).

    ``cursor`` is the token of the next page, None where no more rows can follow.
    """

    hits: tuple[Hit, ...]
    stats: SearchStats
    sql: str
    cursor: str | None = None

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def to_dict(self) -> dict[str, Any]:
        """``hits``, ``search`` and ``cursor``, as the command line prints them in JSON."""
        return {
            "hits": [asdict(hit) for hit in self.hits],
            "search": asdict(self.stats),
            "cursor": self.cursor,
        }
