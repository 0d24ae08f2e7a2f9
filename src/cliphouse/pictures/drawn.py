"""Pictures of shapes, drawn by the package itself, and what is true of them.

A scene is one or two groups of equal shapes on a pale background.  Because the scene is known,
so is the answer to every search: `Scene.satisfies` says whether a picture shows what a `Query`
asks for.  Everything is deterministic in the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

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
"""(colour, shape) pairs that the bundled model never sees in training, drawn or in words."""

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
    """The first option without `rng` or with a chance of `usual`, else any of them."""
    if rng is None or (usual and rng.random() < usual):
        return options[0]
    return options[int(rng.integers(len(options)))]


@dataclass(frozen=True)
class Query:
    """What a sentence asks for; None leaves a property open."""

    colour: str | None = None
    shape: str | None = None
    size: str | None = None
    count: int | None = None
    position: str | None = None

    def sentence(self, rng: Rng | None = None, plural: bool = False) -> str:
        """The query in English: the plain wording, or with `rng` a varied one.

        `plural` words an open count as "red stars" rather than "a red star".
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
    """A group of `count` equal shapes and where it stands in the picture."""

    count: int
    size: str
    colour: str
    shape: str
    position: str

    def matches(self, query: Query) -> bool:
        """Whether everything but the count is as the query asks."""
        return (
            query.colour in (None, self.colour)
            and query.shape in (None, self.shape)
            and query.size in (None, self.size)
            and query.position in (None, self.position)
        )

    def query(self) -> Query:
        """The query with every property of this group."""
        return Query(self.colour, self.shape, self.size, self.count, self.position)


@dataclass(frozen=True)
class Caption:
    """A text and what it says: it is true of a scene that satisfies all the queries."""

    text: str
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Scene:
    """One or two groups of shapes."""

    things: tuple[Thing, ...]

    def satisfies(self, query: Query) -> bool:
        """Whether the picture shows what the query asks for.

        A count holds for one group or for all matching groups together: two red stars and one
        blue star are also three stars.
        """
        counts = [thing.count for thing in self.things if thing.matches(query)]
        if query.count is None:
            return bool(counts)
        return query.count in counts or query.count == sum(counts)

    def describe(self, rng: Rng) -> Caption:
        """A natural caption with more or less detail, and what it says."""
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
    """A random scene; `held_out` excludes the held-out pairs or asks for (at least) one."""
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


def _arc(start: float, stop: float, radius: float = 1.0, x: float = 0.0) -> NDArray[np.float64]:
    angles = np.linspace(np.radians(start), np.radians(stop), 40)
    return np.stack([x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _outlines() -> dict[str, NDArray[np.float64]]:
    """The shapes as polygons, float64 (points, 2), y downwards, about one unit in radius."""
    t = np.linspace(0, 2 * np.pi, 60)
    heart_y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    spikes = np.arange(10) * np.pi / 5 - np.pi / 2
    lengths = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    # The inner arc of the crescent meets the outer one at its tips (60 and 300 degrees).
    inner = float(np.hypot(0.08, np.sin(np.pi / 3)))
    tip = float(np.degrees(np.arctan2(np.sin(np.pi / 3), 0.08)))
    arm, turn = np.array([[-0.3, -0.3], [-0.3, -1], [0.3, -1]]), np.array([[0, 1], [-1, 0]])
    arrow = [-1, 0.1, 0.1, 1, 0.1, 0.1, -1], [-0.2, -0.2, -0.65, 0, 0.65, 0.2, 0.2]
    return {
        "circle": 0.9 * _arc(0, 360),
        "square": 0.7 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]),
        "triangle": np.array([[0, -1], [0.87, 0.5], [-0.87, 0.5]]),
        "star": np.stack([lengths * np.cos(spikes), lengths * np.sin(spikes)], axis=1),
        "heart": np.stack([16 * np.sin(t) ** 3, -heart_y - 2.5], axis=1) / 17.5,
        "cross": 0.95 * np.concatenate([arm, arm @ turn, -arm, -arm @ turn]),
        "ring": 0.95 * _arc(0, 360),
        "crescent": np.concatenate([_arc(60, 300), _arc(360 - tip, tip, inner, 0.42)]),
        "diamond": np.array([[0, -1], [0.6, 0], [0, 1], [-0.6, 0]]),
        "arrow": np.stack(arrow, axis=1),
    }


_OUTLINES = _outlines()
_HOLES = {"ring": 0.55 * _arc(0, 360)}
SHAPES: tuple[str, ...] = tuple(_OUTLINES)


@dataclass(frozen=True)
class Placed:
    """One shape in the picture; x, y and radius in units of the central square's side."""

    thing: Thing
    x: float
    y: float
    radius: float
    angle: float


_MARGIN, _GAP, _SCALE = 0.03, 0.02, 3


def _region(thing: Thing, radius: float) -> tuple[float, float, float, float]:
    """Where the centres of a group's shapes may be: x from, x to, y from, y to."""
    near, far = _MARGIN + radius, 1 - _MARGIN - radius
    before, after = 0.5 - _GAP - radius, 0.5 + _GAP + radius
    if thing.position == "middle" and thing.count == 1:
        return 0.42, 0.58, 0.42, 0.58
    if thing.position == "middle" and thing.size == "small":
        return 0.22, 0.78, 0.22, 0.78
    horizontal = {"left": (near, before), "right": (after, far)}.get(thing.position, (near, far))
    vertical = {"top": (near, before), "bottom": (after, far)}.get(thing.position, (near, far))
    return *horizontal, *vertical


def place(scene: Scene, rng: Rng) -> list[Placed]:
    """Random places, sizes and slight rotations for all shapes of a scene, without overlap."""
    placed: list[Placed] = []
    for thing in scene.things:
        low, high = (0.08, 0.1) if thing.size == "small" else (0.15, 0.19)
        radius = rng.uniform(low, 0.155 if thing.size == "large" and thing.count > 2 else high)
        x0, x1, y0, y1 = _region(thing, radius)
        spots: list[tuple[float, float]] = []
        tries = 0
        while len(spots) < thing.count:
            x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
            if all(np.hypot(x - a, y - b) >= 2 * radius + _GAP for a, b in spots):
                spots.append((x, y))
            tries += 1
            if tries % 30 == 0:  # boxed in by the earlier spots: start again
                spots = []
        placed += [Placed(thing, x, y, radius, rng.uniform(-12, 12)) for x, y in spots]
    return placed


def _background(width: int, height: int, rng: Rng) -> Image.Image:
    """A plain, shaded or grainy pale background."""
    start = rng.uniform(226, 255, 3)
    kind = rng.integers(3)
    if kind == 0:
        return Image.new("RGB", (width, height), tuple(int(v) for v in start))
    if kind == 1:
        angle, end = rng.uniform(0, 2 * np.pi), rng.uniform(226, 255, 3)
        ramp = np.cos(angle) * np.linspace(-0.35, 0.35, width)[None, :]
        ramp = ramp + np.sin(angle) * np.linspace(-0.35, 0.35, height)[:, None] + 0.5
        pixels = start + ramp[:, :, None] * (end - start)
    else:
        grain = rng.standard_normal((height, width), dtype=np.float32) * rng.uniform(1, 4)
        pixels = start + grain[:, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "RGB")


def draw(scene: Scene, rng: Rng | int) -> Image.Image:
    """Draw a scene: an antialiased RGB picture, 128 to 224 pixels wide and high.

    All shapes stay inside the central square, which is what CLIP's centre crop keeps.
    """
    rng = np.random.default_rng(rng)
    side = int(rng.integers(128, 177))
    long = int(side * rng.uniform(1, 1.25))
    width, height = (long, side) if rng.random() < 0.5 else (side, long)
    image = _background(width, height, rng)
    corner = np.array([(width - side) / 2, (height - side) / 2])
    placed = place(scene, rng)
    for thing in scene.things:
        mask = Image.new("L", (width * _SCALE, height * _SCALE))
        pen = ImageDraw.Draw(mask)
        for spot in (spot for spot in placed if spot.thing == thing):
            turn = np.radians(spot.angle)
            axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            centre = corner + side * np.array([spot.x, spot.y])
            for outlines, ink in ((_OUTLINES, 255), (_HOLES, 0)):
                if spot.thing.shape in outlines:
                    points = outlines[spot.thing.shape] @ axes * side * spot.radius + centre
                    pen.polygon((points * _SCALE).ravel().tolist(), fill=ink)
        shade = np.array(COLOURS[thing.colour]) * rng.uniform(0.93, 1.05) + rng.uniform(-8, 8, 3)
        ink_rgb = tuple(int(v) for v in shade.clip(0, 255))
        image.paste(ink_rgb, mask=mask.reduce(_SCALE))
    return image


@dataclass(frozen=True)
class Picture:
    """A drawn picture with its scene and a caption that is true of it."""

    scene: Scene
    caption: Caption
    image: Image.Image


def random_picture(seed: int, number: int, held_out: HeldOut = "any") -> Picture:
    """Picture `number` of the endless series that belongs to `seed`."""
    rng = np.random.default_rng([seed, number])
    scene = random_scene(rng, held_out)
    return Picture(scene, scene.describe(rng), draw(scene, rng))


def _write(folder: Path, numbers: range, seed: int, held_out: HeldOut) -> int:
    for number in numbers:
        picture = random_picture(seed, number, held_out)
        stem = folder / f"picture_{number:05d}"
        picture.image.save(stem.with_suffix(".jpg"), quality=90)
        stem.with_suffix(".txt").write_text(picture.caption.text + "\n", encoding="utf-8")
    return len(numbers)


def write_pictures(
    folder: Path | str,
    count: int,
    seed: int = 0,
    *,
    held_out: HeldOut = "any",
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write `count` pictures as picture_00001.jpg with the caption in picture_00001.txt.

    `jobs` processes share the work; the result does not depend on their number.  `progress` is
    called with the number of pictures written so far.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chunks = [range(at, min(at + 100, count + 1)) for at in range(1, count + 1, 100)]
    write = partial(_write, folder, seed=seed, held_out=held_out)
    done = 0
    with ProcessPoolExecutor(max(jobs, 1)) as pool:  # starts no process before its first task
        for written in pool.map(write, chunks) if jobs > 1 else map(write, chunks):
            done += written
            if progress is not None:
                progress(done)
