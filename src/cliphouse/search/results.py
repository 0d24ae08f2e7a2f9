"""What a search gives back: the hits, and how they were found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

from cliphouse.schema.columns import COLUMNS, Column, Scalar, Value


@dataclass(frozen=True)
class HitField:
    """A column that hits show. ``quoted`` is its name in SQL."""

    name: str
    type: Scalar
    quoted: str


def hit_fields(columns: Sequence[Column] = COLUMNS) -> tuple[HitField, ...]:
    """The columns that hits show, in their order."""
    return tuple(
        HitField(column.name, column.type, column.quoted)
        for column in columns
        if column.is_shown and isinstance(column.type, Scalar)
    )


@dataclass(frozen=True)
class Hit:
    """A found row. ``score`` is the cosine similarity to the query, ``distance`` the distance to it
    in the search's metric. ``folded`` counts the near-duplicates that were left out in its
    favour.

    ``values`` are the row's columns, which are attributes too: ``hit.url``, ``hit.caption``,
    ``hit.NSFW``, ``hit.similarity`` (that of the row's own picture and caption, NaN if unknown),
    ``hit.width``, ``hit.height``, ``hit.license``, and those that the table keeps beside them.
    """

    id: int
    score: float
    distance: float
    values: Mapping[str, Value] = field(default_factory=dict, hash=False)
    folded: int = 0

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"a hit has no column {name}")

    def to_dict(self) -> dict[str, Value]:
        """All that is known of the row, as JSON and files have it."""
        own = {"id": self.id, "score": self.score, "distance": self.distance}
        return {**own, **self.values, "folded": self.folded}

    @classmethod
    def from_dict(cls, known: Mapping[str, Any]) -> Hit:
        """The hit that ``to_dict`` has made ``known`` of."""
        values = dict(known)
        own = {name: values.pop(name) for name in ("id", "score", "distance", "folded")}
        return cls(**own, values=values)


@dataclass(frozen=True)
class SearchStats:
    """How a search was done.

    ``width`` is the ef of mode hnsw or the oversampling of mode codes. ``recall`` is the measured
    recall@k of this mode and width for this kind of query: 1.0 for exact, None if it was not
    measured. ``reason`` says why the mode was chosen, ``filtered`` how a filter was applied (empty
    without one). Times are in milliseconds. ``rows_read`` counts the rows that an embedded engine
    read; it is None if the search was not asked to count them.
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
    """The hits, with how they were found (``stats``) and the statement (``sql``).

    The nearest hit comes first, unless the request sorts them. ``cursor`` is the token of the next
    page, None if no more rows can follow. ``fields`` are the columns that the hits show.
    """

    hits: tuple[Hit, ...]
    stats: SearchStats
    sql: str
    cursor: str | None = None
    fields: tuple[HitField, ...] = hit_fields()

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
            "hits": [hit.to_dict() for hit in self.hits],
            "search": asdict(self.stats),
            "cursor": self.cursor,
        }
