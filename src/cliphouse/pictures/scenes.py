"""Scenes of one or two groups of shapes: their captions, and the queries that they satisfy.

The contents of a scene are known, so the answer to every search is known: `Scene.satisfies` says
whether a picture of the scene shows what a `Query` asks for. Everything is deterministic in the
seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cliphouse.pictures.outlines import SHAPES

Rng = np.random.Generator
HeldOut = Literal["exclude", "only", "any"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 36),
    "orange": (246, 136, 22),
    "yellow": (240, 212, 30),
    "green": (44, 156, 66),
    "blue": (38, 88, 214),
    "purple": (124, 48, 172),
    "pink": (246, 132, 188),
    "brown": (122, 72, 36),
    "black": (22, 22, 22),
    "gray": (132, 132, 132),
}
SIZES = ("small", "large")
POSITIONS = ("left", "right", "top", "bottom", "middle")
COUNTS = (1, 2, 3, 4)

HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {("red", "crescent"), ("orange", "heart"), ("yellow", "diamond"), ("green", "ring")}
    | {("blue", "arrow"), ("purple", "star"), ("pink", "triangle"), ("brown", "circle")}
    | {("black", "cross"), ("gray", "square")}
)
"""(colour, shape) pairs that the bundled model never sees in training, in pictures or captions."""

_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
_PLACES = {
    "left": ("on the left", "on the left side", "at the left", "to the left"),
    "right": ("on the right", "on the right side", "at the right", "to the right"),
    "top": ("at the top", "in the upper part", "on top", "up above"),
    "bottom": ("at the bottom", "in the lower part", "down below"),
    "middle": ("in the middle", "in the center", "in the centre"),
}
_SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
_COLOUR_WORDS = {"gray": ("gray", "grey")}
_PREFIXES = (
    *("a picture of", "a photo of", "a drawing of", "an image of", "a picture with"),
    *("an illustration of", "a picture showing", "a sketch of", "a photograph of"),
)


def _pick(rng: Rng | None, options: Sequence[str], usual: float = 0.0) -> str:
    """The first option if `rng` is None or with the chance `usual`; otherwise a random one."""
    if rng is None or (usual and rng.random() < usual):
        return options[0]
    return options[int(rng.integers(len(options)))]


@dataclass(frozen=True)
class Query:
    """The properties that a sentence asks for; None means any."""

    colour: str | None = None
    shape: str | None = None
    size: str | None = None
    count: int | None = None
    position: str | None = None

    def sentence(self, rng: Rng | None = None, plural: bool = False) -> str:
        """The query in English: the plain wording, or a random wording with `rng`.

        With `plural`, a query without a count asks for "red stars" rather than "a red star".
        """
        size = _pick(rng, _SIZE_WORDS[self.size], 0.4) if self.size else ""
        colour = (
            _pick(rng, _COLOUR_WORDS.get(self.colour, (self.colour,)), 0.4) if self.colour else ""
        )
        place = _pick(rng, _PLACES[self.position], 0.4) if self.position else ""
        if self.count and self.count > 1:
            number, plural = _pick(rng, (_NUMBERS[self.count], str(self.count)), 0.7), True
        else:
            number, plural = ("one", False) if self.count else ("", plural)
        if self.shape is None and not number and not plural:
            words = ["something", size, colour]
        else:
            noun = self.shape or _pick(rng, ("shape", "thing"))
            if plural:
                noun += "es" if noun == "cross" else "s"
            if colour and rng is not None and rng.random() < 0.08:
                words = [size, noun, "that are" if plural else "that is", colour]
            else:
                words = [size, colour, noun]
            if number or plural:
                words.insert(0, number)
            elif rng is None or rng.random() >= 0.15:
                first = next(word for word in words if word)
                words.insert(0, "an" if first[0] in "aeiou" else "a")
        return " ".join(word for word in (*words, place) if word)


@dataclass(frozen=True)
class Thing:
    """A group of `count` equal shapes and its position in the picture."""

    count: int
    size: str
    colour: str
    shape: str
    position: str

    def matches(self, query: Query) -> bool:
        """Whether the group has every property that the query asks for, apart from the count."""
        return (
            query.colour in (None, self.colour)
            and query.shape in (None, self.shape)
            and query.size in (None, self.size)
            and query.position in (None, self.position)
        )

    def query(self) -> Query:
        """The query for every property of this group."""
        return Query(self.colour, self.shape, self.size, self.count, self.position)


@dataclass(frozen=True)
class Caption:
    """A text and its meaning: it is true of every scene that satisfies all the queries."""

    text: str
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Scene:
    """One or two groups of shapes."""

    things: tuple[Thing, ...]

    def satisfies(self, query: Query) -> bool:
        """Whether a picture of the scene shows what the query asks for.

        A count is that of one group or of all matching groups together: two red stars and one
        blue star are also three stars.
        """
        counts = [thing.count for thing in self.things if thing.matches(query)]
        if query.count is None:
            return bool(counts)
        return query.count in counts or query.count == sum(counts)

    def describe(self, rng: Rng) -> Caption:
        """A natural caption of random detail, and its meaning."""
        things = [self.things[i] for i in rng.permutation(len(self.things))]
        if len(things) == 2 and rng.random() < 0.25:
            things = things[:1]
        queries, phrases = [], []
        for thing in things:
            keep = {"size": 0.35, "position": 0.4, "count": 0.2 if thing.count == 1 else 0.9}
            dropped = [name for name, chance in keep.items() if rng.random() > chance]
            queries.append(replace(thing.query(), **dict.fromkeys(dropped)))
            phrases.append(queries[-1].sentence(rng, plural=thing.count > 1))
        text = _pick(rng, (" and ", " with ", ", "), 0.7).join(phrases)
        if rng.random() < 0.3:
            text = f"{_pick(rng, _PREFIXES)} {text}"
        return Caption(text, tuple(queries))

    def caption(self, rng: Rng) -> str:
        """A natural English caption, such as "two yellow hearts and a gray square"."""
        return self.describe(rng).text


def random_scene(rng: Rng, held_out: HeldOut = "any") -> Scene:
    """A random scene; `held_out` excludes the held-out pairs or requires at least one."""
    two = rng.random() < 0.5
    sides = _pick(rng, ("left right", "right left", "top bottom", "bottom top")).split()
    things: list[Thing] = []
    while len(things) < (2 if two else 1):
        colour, shape = _pick(rng, tuple(COLOURS)), _pick(rng, SHAPES)
        wanted = "any" if things and held_out == "only" else held_out
        if wanted != "any" and ((colour, shape) in HELD_OUT) != (wanted == "only"):
            continue
        if any((thing.colour, thing.shape) == (colour, shape) for thing in things):
            continue
        size, count = _pick(rng, SIZES), int(rng.integers(1, 5))
        if two:
            # More than two large shapes do not fit on one half of the picture.
            count = min(count, 2) if size == "large" else count
            position = sides[len(things)]
        else:
            position = _pick(rng, POSITIONS)
            if size == "large" and count > 2:
                position = "middle"
        things.append(Thing(count, size, colour, shape, position))
    return Scene(tuple(things))
