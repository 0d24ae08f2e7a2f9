"""Drawn pictures: what is drawn, said and claimed to be true must agree."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cliphouse.pictures.drawn import draw, random_picture, write_pictures
from cliphouse.pictures.outlines import SHAPES
from cliphouse.pictures.scenes import (
    COLOURS,
    HELD_OUT,
    POSITIONS,
    SIZES,
    Query,
    Scene,
    Thing,
    random_scene,
)
from thorough import examples

seeds = st.integers(0, 2**32 - 1)

TWO = Scene(
    (Thing(3, "small", "red", "star", "left"), Thing(1, "large", "blue", "circle", "right"))
)
STARS = Scene(
    (Thing(2, "small", "red", "star", "top"), Thing(1, "small", "blue", "star", "bottom"))
)


def foreground(image: Image.Image) -> NDArray[np.bool_]:
    """Pixels that are clearly not background: every colour is dark in at least one channel."""
    return np.asarray(image).min(axis=2) < 190


def count_blobs(mask: NDArray[np.bool_]) -> int:
    """The number of 4-connected regions of at least 10 pixels."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    blobs = 0
    while left:
        stack, size = [left.pop()], 1
        while stack:
            y, x = stack.pop()
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left:
                    left.remove(near)
                    stack.append(near)
                    size += 1
        blobs += size >= 10
    return blobs


@pytest.mark.parametrize(
    ("scene", "query", "expected"),
    [
        (TWO, Query("red", "star"), True),
        (TWO, Query("blue", "circle"), True),
        (TWO, Query("red", "circle"), False),
        (TWO, Query("blue", "star"), False),
        (TWO, Query("green"), False),
        (TWO, Query("red"), True),
        (TWO, Query(shape="circle"), True),
        (TWO, Query(shape="square"), False),
        (TWO, Query("red", "star", count=3), True),
        (TWO, Query("red", "star", count=2), False),
        (TWO, Query("red", "star", count=1), False),
        (TWO, Query("red", "star", "small", 3, "left"), True),
        (TWO, Query("red", "star", "large"), False),
        (TWO, Query("red", "star", position="right"), False),
        (TWO, Query(size="large", position="right"), True),
        (TWO, Query(size="large", position="left"), False),
        (TWO, Query(shape="circle", size="small"), False),
        (STARS, Query(shape="star", count=3), True),
        (STARS, Query(shape="star", count=2), True),
        (STARS, Query(shape="star", count=4), False),
        (STARS, Query("blue", "star", count=2), False),
        (STARS, Query("blue", "star", count=1, position="bottom"), True),
        (STARS, Query("blue", "star", position="top"), False),
    ],
)
def test_satisfies(scene: Scene, query: Query, expected: bool) -> None:
    assert scene.satisfies(query) is expected


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (Query("red", "circle"), "a red circle"),
        (Query("orange", "arrow"), "an orange arrow"),
        (Query("blue", "star", "small", 3), "three small blue stars"),
        (Query("green", "triangle", "large", None, "left"), "a large green triangle on the left"),
        (Query("purple", "ring", count=1, position="top"), "one purple ring at the top"),
        (Query("black", "cross", count=2), "two black crosses"),
        (Query("red"), "something red"),
        (Query(shape="circle"), "a circle"),
        (Query(shape="arrow"), "an arrow"),
    ],
)
def test_sentence(query: Query, sentence: str) -> None:
    assert query.sentence() == sentence


@given(seeds)
@settings(max_examples=examples(60, 300), deadline=None)
def test_captions_are_true_of_their_scene(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    caption = scene.describe(rng)
    assert all(scene.satisfies(query) for query in caption.queries)
    words = re.findall(r"[a-z]+", caption.text.replace("grey", "gray"))
    said_colours = {word for word in words if word in COLOURS}
    said_shapes = {shape for shape in SHAPES if {shape, shape + "s", shape + "es"} & set(words)}
    assert said_colours and said_colours <= {thing.colour for thing in scene.things}
    assert said_shapes and said_shapes <= {thing.shape for thing in scene.things}


def test_captions_vary() -> None:
    texts = {TWO.caption(np.random.default_rng(seed)) for seed in range(200)}
    assert len(texts) > 80
    assert any("red star" in text and "blue circle" in text for text in texts)
    assert any("left" in text for text in texts)
    assert any("three" in text for text in texts)


def test_held_out_pairs() -> None:
    assert sorted(colour for colour, _ in HELD_OUT) == sorted(COLOURS)
    assert sorted(shape for _, shape in HELD_OUT) == sorted(SHAPES)
    rng = np.random.default_rng(3)

    def pairs(scene: Scene) -> set[tuple[str, str]]:
        return {(thing.colour, thing.shape) for thing in scene.things}

    seen = [pairs(random_scene(rng, "exclude")) for _ in range(4000)]
    assert not any(HELD_OUT & scene for scene in seen)
    assert len(set().union(*seen)) == len(COLOURS) * len(SHAPES) - len(HELD_OUT)
    assert all(HELD_OUT & pairs(random_scene(rng, "only")) for _ in range(1000))
    mixed = [pairs(random_scene(rng, "any")) for _ in range(4000)]
    assert set().union(*mixed) >= HELD_OUT


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_colour_is_in_the_pixels(colour: str, shape: str) -> None:
    scene = Scene((Thing(1, "large", colour, shape, "middle"),))
    image = draw(scene, SHAPES.index(shape))
    pixels = np.asarray(image).astype(int)
    shapes_pixels = pixels[foreground(image)]
    distances = [np.abs(shapes_pixels - np.array(rgb)).sum(axis=1) for rgb in COLOURS.values()]
    nearest = np.bincount(np.argmin(distances, axis=0), minlength=len(COLOURS))
    assert nearest[list(COLOURS).index(colour)] > 0.8 * nearest.sum()
    assert nearest.sum() > 0.01 * pixels.shape[0] * pixels.shape[1]


@given(seeds)
@settings(max_examples=examples(20, 60), deadline=None)
def test_drawn_as_stated(seed: int) -> None:
    """As many shapes as the scene says, all inside the central square."""
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    image = draw(scene, rng)
    assert image.mode == "RGB"
    width, height = image.size
    side = min(width, height)
    assert 128 <= side <= max(width, height) <= 224
    mask = foreground(image)
    assert count_blobs(mask) == sum(thing.count for thing in scene.things)
    ys, xs = np.nonzero(mask)
    assert xs.min() >= (width - side) / 2 and xs.max() <= (width + side) / 2
    assert ys.min() >= (height - side) / 2 and ys.max() <= (height + side) / 2


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("size", SIZES)
def test_position_and_size_are_drawn(position: str, size: str) -> None:
    for seed in range(8):
        image = draw(Scene((Thing(1, size, "black", "circle", position),)), seed)
        ys, xs = np.nonzero(foreground(image))
        side = min(image.size)
        x = (xs.mean() - image.width / 2) / side
        y = (ys.mean() - image.height / 2) / side
        where = {"left": x < -0.1, "right": x > 0.1, "top": y < -0.1, "bottom": y > 0.1}
        where["middle"] = abs(x) < 0.1 and abs(y) < 0.1
        assert where[position]
        assert (len(xs) / side**2 > 0.04) == (size == "large")


def test_deterministic() -> None:
    first, again = random_picture(5, 17), random_picture(5, 17)
    assert first.scene == again.scene and first.caption == again.caption
    assert first.image.tobytes() == again.image.tobytes()
    assert draw(TWO, 8).tobytes() == draw(TWO, 8).tobytes() != draw(TWO, 9).tobytes()
    assert random_picture(5, 18).image.tobytes() != first.image.tobytes()
    assert random_picture(6, 17).image.tobytes() != first.image.tobytes()


def test_write_pictures(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    write_pictures(tmp_path / "one", 130, seed=4, progress=lambda *counts: done.append(counts))
    write_pictures(tmp_path / "two", 130, seed=4, jobs=2)
    assert done == [(100, 130), (130, 130)]
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files[:2] == ["picture_00001.jpg", "picture_00001.txt"] and len(files) == 260
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    expected = random_picture(4, 130)
    text = (tmp_path / "one" / "picture_00130.txt").read_text(encoding="utf-8")
    assert text.strip() == expected.caption.text
    with Image.open(tmp_path / "one" / "picture_00130.jpg") as image:
        difference = np.asarray(image).astype(int) - np.asarray(expected.image).astype(int)
    assert np.abs(difference).mean() < 4
