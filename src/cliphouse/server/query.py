"""What a client asks, before anything is encoded: plain values from the network."""

from __future__ import annotations

from dataclasses import dataclass

from cliphouse.errors import QueryError
from cliphouse.search.filter import Filter
from cliphouse.search.paging import Cursor
from cliphouse.search.request import Mode, Request
from cliphouse.vocabulary import Metric, Modality

_KINDS = ("words", "picture", "picture_url", "vector", "id")


@dataclass(frozen=True)
class QueryPart:
    """One thing searched for, with its weight, negative to get away from it. Exactly one of the
    others is given: words, the bytes of a picture's file, a picture's URL, a vector, a row's id.

    Raises QueryError where there is none or more than one, or the weight is 0.
    """

    words: str | None = None
    picture: bytes | None = None
    picture_url: str | None = None
    vector: tuple[float, ...] | None = None
    id: int | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            listed = " and ".join(given) or "nothing"
            raise QueryError(f"one operand has one of {', '.join(_KINDS)}; this one has {listed}")
        if self.weight == 0:
            raise QueryError("a weight of 0 says nothing; leave the operand out")
        if self.words is not None and not self.words.strip():
            raise QueryError("the words are empty")

    def describe(self) -> str:
        """What is searched for, for a log."""
        if self.picture is not None:
            what: object = f"a picture of {len(self.picture)} bytes"
        elif self.vector is not None:
            what = "a vector"
        else:
            what = self.words or self.picture_url or f"id:{self.id}"
        return repr(what) if self.weight == 1 else f"{self.weight:g} x {what!r}"


@dataclass(frozen=True)
class SearchQuery:
    """A search: what for (any of the first five, and ``operands``, are summed) and how.

    ``picture`` holds the bytes of a picture's file. ``filter``, ``metric``, ``mode``, ``ef``,
    ``oversampling`` and ``dedup`` are those of cliphouse.search.request.Request; ``cursor`` is the
    token of an earlier result. ``count`` asks for the rows read, which is answered where nothing
    else ran beside it.

    Raises QueryError where nothing is searched for.
    """

    words: str | None = None
    picture: bytes | None = None
    picture_url: str | None = None
    vector: tuple[float, ...] | None = None
    id: int | None = None
    operands: tuple[QueryPart, ...] = ()
    modality: Modality = "image"
    k: int = 10
    offset: int = 0
    cursor: str | None = None
    filter: Filter | None = None
    metric: Metric = "cosine"
    mode: Mode = "auto"
    ef: int | None = None
    oversampling: int | None = None
    dedup: float | None = None
    count: bool = False

    def __post_init__(self) -> None:
        parts = self.parts
        if not parts:
            raise QueryError(f"nothing to search for: give one of {', '.join(_KINDS)} or operands")
        if all(part.weight < 0 for part in parts):
            raise QueryError("everything is subtracted: give an operand with a positive weight")

    @property
    def parts(self) -> tuple[QueryPart, ...]:
        """Everything that is summed."""
        named = [
            QueryPart(**{kind: value})
            for kind in _KINDS
            if (value := getattr(self, kind)) is not None
        ]
        return (*named, *self.operands)

    def describe(self) -> str:
        """What is searched for, for a log."""
        return " + ".join(part.describe() for part in self.parts)

    def request(self) -> Request:
        """The search apart from its vector. Raises QueryError where a value is out of range."""
        return Request(
            k=self.k,
            modality=self.modality,
            metric=self.metric,
            mode=self.mode,
            ef=self.ef,
            oversampling=self.oversampling,
            filter=self.filter,
            dedup=self.dedup,
            offset=self.offset,
            cursor=None if self.cursor is None else Cursor.from_token(self.cursor),
        )
