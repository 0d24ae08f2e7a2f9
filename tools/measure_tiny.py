"""Measure how well the bundled `tiny` model finds drawn pictures it was never trained on.

    python tools/measure_tiny.py

Loads the shipped ONNX files with fastembed, embeds newly drawn pictures (held-out colour-shape
pairs included) and searches them exhaustively by cosine similarity.  The measure is precision@10:
how many of a sentence's ten nearest pictures show what it says.  Exits with 1 below the targets.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastembed import ImageEmbedding, TextEmbedding
from numpy.typing import NDArray

from cliphouse.pictures.drawn import random_picture
from cliphouse.pictures.outlines import SHAPES
from cliphouse.pictures.scenes import COLOURS, COUNTS, HELD_OUT, POSITIONS, SIZES, Query, Scene

MODEL = Path(__file__).parents[1] / "src" / "cliphouse" / "models" / "tiny"
MEASURE_SEED = 90_000
"""Far from the seed of the training pictures."""
NEAREST = 10
TARGETS = {"seen pairs": 0.9, "held-out pairs": 0.7}


@dataclass(frozen=True)
class Line:
    """Precision@10 of one sentence; `known` pictures of all satisfy it."""

    kind: str
    sentence: str
    precision: float
    known: int


@dataclass(frozen=True)
class Report:
    """All sentences' precision, and the encoding speed per second."""

    lines: tuple[Line, ...]
    pictures: int
    pictures_per_second: float
    texts_per_second: float

    def average(self, kind: str) -> float:
        """Mean precision@10 over the sentences of a kind, such as "seen pairs"."""
        return float(np.mean([line.precision for line in self.lines if line.kind == kind]))

    def kinds(self) -> list[str]:
        return list(dict.fromkeys(line.kind for line in self.lines))

    def passed(self) -> bool:
        """Whether the averages reach the targets."""
        return all(self.average(kind) >= target for kind, target in TARGETS.items())

    def table(self, sentences: bool = False) -> str:
        """The averages as text, with `sentences` after a row for every sentence."""
        rows = []
        if sentences:
            rows += [f"{x.precision:9.2f}  {x.known:5d}  {x.sentence}" for x in self.lines] + [""]
        rows.append(f"{'':28}sentences  precision@{NEAREST}  worst  target")
        for kind in self.kinds():
            values = [line.precision for line in self.lines if line.kind == kind]
            target = f"{TARGETS[kind]:.2f}" if kind in TARGETS else ""
            rows.append(
                f"{kind:28}{len(values):9d}  {np.mean(values):12.3f}  {min(values):5.2f}  {target}"
            )
        rows.append(
            f"{self.pictures} pictures; {self.pictures_per_second:.0f} pictures/s, "
            f"{self.texts_per_second:.0f} texts/s"
        )
        return "\n".join(rows)


def questions(seed: int) -> dict[str, list[Query]]:
    """The queries of each kind: all pairs, and random ones with a count, size or position."""
    rng = np.random.default_rng([seed, 1])
    pairs = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    seen = [pair for pair in pairs if pair not in HELD_OUT]

    def some(number: int) -> list[tuple[str, str]]:
        return [seen[i] for i in rng.permutation(len(seen))[:number]]

    return {
        "seen pairs": [Query(*pair) for pair in seen],
        "held-out pairs": [Query(*pair) for pair in sorted(HELD_OUT)],
        "colour only": [Query(colour) for colour in COLOURS],
        "shape only": [Query(None, shape) for shape in SHAPES],
        "count, colour and shape": [
            Query(*pair, count=count) for count in COUNTS for pair in some(15)
        ],
        "count of held-out pairs": [
            Query(*pair, count=count) for count in COUNTS[1:] for pair in sorted(HELD_OUT)
        ],
        "size, colour and shape": [Query(*pair, size=size) for size in SIZES for pair in some(15)],
        "colour, shape and position": [
            Query(*pair, position=position) for position in POSITIONS for pair in some(8)
        ],
    }


def _unit(vectors: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
    matrix = np.array(list(vectors), dtype=np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix


def precision(scores: NDArray[np.float32], scenes: list[Scene], query: Query) -> Line:
    """Share of hits among the nearest pictures, or among all hits there are if fewer."""
    hits = np.array([scene.satisfies(query) for scene in scenes])
    known = int(hits.sum())
    nearest = np.argsort(-scores, kind="stable")[: min(NEAREST, max(known, 1))]
    return Line("", query.sentence(), float(hits[nearest].mean()), known)


def measure(model: Path = MODEL, pictures: int = 4000, seed: int = MEASURE_SEED) -> Report:
    """Measure the ONNX files in `model` on `pictures` new pictures."""
    vision = ImageEmbedding(
        "Qdrant/clip-ViT-B-32-vision", specific_model_path=str(model / "vision")
    )
    text = TextEmbedding("Qdrant/clip-ViT-B-32-text", specific_model_path=str(model / "text"))
    drawn = [random_picture(seed, number, "any") for number in range(pictures)]
    scenes = [picture.scene for picture in drawn]
    start = time.perf_counter()
    images = _unit(vision.embed([picture.image for picture in drawn], batch_size=64))
    image_seconds = time.perf_counter() - start
    lines, text_seconds = [], 0.0
    for kind, queries in questions(seed).items():
        start = time.perf_counter()
        texts = _unit(text.embed([query.sentence() for query in queries]))
        text_seconds += time.perf_counter() - start
        for query, vector in zip(queries, texts, strict=True):
            line = precision(images @ vector, scenes, query)
            if line.known:  # nothing to find, nothing to measure
                lines.append(Line(kind, line.sentence, line.precision, line.known))
    return Report(tuple(lines), pictures, pictures / image_seconds, len(lines) / text_seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=MEASURE_SEED)
    parser.add_argument("--sentences", action="store_true", help="a row for every sentence")
    options = parser.parse_args()
    report = measure(options.model, options.pictures, options.seed)
    print(report.table(options.sentences))
    return 0 if report.passed() else 1


if __name__ == "__main__":
    sys.exit(main())
