"""A found row, and the columns that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cliphouse.schema.columns import COLUMNS, Column, Scalar, Value

ALWAYS = ("id", "score", "distance")  # what every hit has, whatever columns it shows


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
    favour. ``missing`` says of a picture in a folder that the table follows, if its file is not
    there now: it was moved or deleted since, or its disk is not plugged in. It is None for others.

    ``values`` are the row's columns, which are attributes too: ``hit.url``, ``hit.caption``,
    ``hit.NSFW``, ``hit.similarity`` (that of the row's own picture and caption, NaN if unknown),
    ``hit.width``, ``hit.height``, ``hit.license``, and those that the table keeps beside them.
    """

    id: int
    score: float
    distance: float
    values: Mapping[str, Value] = field(default_factory=dict, hash=False)
    folded: int = 0
    missing: bool | None = None

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"a hit has no column {name}")

    def to_dict(self) -> dict[str, Value]:
        """All that is known of the row, as JSON and files have it."""
        own = {"id": self.id, "score": self.score, "distance": self.distance}
        known: dict[str, Value] = {**own, **self.values, "folded": self.folded}
        return known if self.missing is None else {**known, "missing": self.missing}

    def _repr_html_(self) -> str:
        from cliphouse.search.display import hits_html

        return hits_html([self])

    @classmethod
    def from_dict(cls, known: Mapping[str, Any]) -> Hit:
        """The hit that ``to_dict`` has made ``known`` of."""
        values = dict(known)
        own = {name: values.pop(name) for name in ("id", "score", "distance", "folded")}
        return cls(**own, values=values, missing=values.pop("missing", None))
