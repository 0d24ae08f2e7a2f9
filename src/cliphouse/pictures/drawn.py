"""Pictures of scenes, drawn by the package itself on pale backgrounds.

Everything is deterministic in the seed.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cliphouse.pictures.outlines import HOLES, OUTLINES
from cliphouse.pictures.scenes import COLOURS, Caption, HeldOut, Rng, Scene, Thing, random_scene
from cliphouse.vocabulary import Progress


@dataclass(frozen=True)
class Placed:
    """One shape in a picture; x, y and radius are in units of the central square's side."""

    thing: Thing
    x: float
    y: float
    radius: float
    angle: float


_MARGIN, _GAP, _SCALE = 0.03, 0.02, 3


def _region(thing: Thing, radius: float) -> tuple[float, float, float, float]:
    """The bounds of the centres of a group's shapes: x from, x to, y from, y to."""
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
            if tries % 30 == 0:  # the earlier spots leave no room: start again
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
    """Draw a scene as an antialiased RGB picture, 128 to 224 pixels wide and high.

    All shapes are inside the central square, which CLIP's centre crop keeps.
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
            for outlines, ink in ((OUTLINES, 255), (HOLES, 0)):
                if spot.thing.shape in outlines:
                    points = outlines[spot.thing.shape] @ axes * side * spot.radius + centre
                    pen.polygon((points * _SCALE).ravel().tolist(), fill=ink)
        shade = np.array(COLOURS[thing.colour]) * rng.uniform(0.93, 1.05) + rng.uniform(-8, 8, 3)
        ink_rgb = tuple(int(v) for v in shade.clip(0, 255))
        image.paste(ink_rgb, mask=mask.reduce(_SCALE))
    return image


@dataclass(frozen=True)
class DrawnPicture:
    """A drawn picture with its scene and a true caption."""

    scene: Scene
    caption: Caption
    image: Image.Image


def random_picture(seed: int, number: int, held_out: HeldOut = "any") -> DrawnPicture:
    """Picture `number` of the endless series with this `seed`."""
    rng = np.random.default_rng([seed, number])
    scene = random_scene(rng, held_out)
    return DrawnPicture(scene, scene.describe(rng), draw(scene, rng))


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
    progress: Progress | None = None,
) -> None:
    """Write `count` pictures as picture_00001.jpg with the caption in picture_00001.txt.

    `jobs` processes share the work; the result does not depend on their number. `progress`
    counts pictures.
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
                progress(done, count)
