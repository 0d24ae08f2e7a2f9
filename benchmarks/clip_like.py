"""Rows like LAION's: embeddings with the geometry of CLIP ViT-B/32, and metadata of its lengths.

Vectors drawn evenly from a ball flatter every index. Real ones lie in two narrow cones, one a
modality, and a text lies far outside the cloud of images it is searched in. The figures aimed at
were measured on some 4,700 image and 2,200 text vectors of ViT-B/32; ``tests/test_clip_like.py``
holds the rows to them.

    python benchmarks/clip_like.py DIR --rows 100000 --shards 0-3
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cliphouse.shards.numbering import parse_shard_numbers
from cliphouse.shards.writer import ShardWriter

DIM = 512
BLOCK = 4096  # rows made at once and always together, so that every cut gives the same rows

Floats = NDArray[np.float32]

# The largest entries of the two means, by dimension, as measured on real vectors.
_IMAGE_MEAN = {92: -0.60, 428: -0.16, 321: 0.12, 133: 0.078, 312: 0.078}
_TEXT_MEAN = {133: 0.55, 312: 0.55, 329: -0.205, 92: -0.145}
_IMAGE_MEAN_NORM = 0.80  # real: 0.72 (varied photos) to 0.88 (one kind of picture)
_TEXT_MEAN_NORM = 0.86
_MEANS_ALIKE = 0.1  # how far their other entries agree: text and image meet at cosine 0.19 then

# What is left after the mean lies in LATENT directions whose spread falls as rank^-decay. Images
# fall faster (effective rank 17-48 is wanted, real text has about 100).
_LATENT = 192
_IMAGE_DECAY = 0.45
_TEXT_DECAY = 0.2
_TAIL = 0.05  # share of the residual's energy spread evenly over all dimensions

# An image and its own text share a meaning: topic, subtopic and a part of their own, in these
# shares of its variance. The rest of each vector is private. A text and its image then meet at
# cosine 0.30-0.32, and a text finds its neighbours as badly as a real one does.
_TOPICS = 128
_SUBTOPICS = 8192
_TOPIC_SHARE = 0.25
_SUBTOPIC_SHARE = 0.3
_POPULARITY_DECAY = 0.7  # subtopics are as unevenly frequent as rank^-decay
_IMAGE_MEANING = 0.55  # share of an image's residual that is meaning
_TEXT_MEANING = 0.38


@dataclass(frozen=True)
class Batch:
    """Rows [start, start + n). ``image`` and ``text`` are (n, 512) float32 unit vectors."""

    start: int
    image: Floats
    text: Floats
    metadata: pa.Table


@dataclass(frozen=True)
class Vectors:
    """The embeddings alone, (n, 512) float32 unit vectors; ``subtopic`` is (n,) int64."""

    image: Floats
    text: Floats
    subtopic: NDArray[np.int64]

    def cut(self, start: int, stop: int) -> Vectors:
        return Vectors(self.image[start:stop], self.text[start:stop], self.subtopic[start:stop])


@dataclass(frozen=True)
class _Cone:
    """One modality: a mean (512,) and the directions (LATENT, 512) rows spread in."""

    mean: Floats
    directions: Floats
    tail: float  # standard deviation of the even noise
    meaning: float

    def vectors(self, rng: np.random.Generator, meaning: Floats) -> Floats:
        latent = np.float32(np.sqrt(self.meaning)) * meaning
        latent += _noise(rng, meaning.shape, np.sqrt(1 - self.meaning))
        rows: Floats = latent @ self.directions
        rows += _noise(rng, rows.shape, self.tail)
        rows += self.mean
        rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        return rows


class ClipLike:
    """An endless, seeded sequence of rows: row i is the same however it is asked for.

    Same to the last bit on one machine with one numpy; elsewhere to float32 rounding.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0][:_LATENT]
        image_mean = _mean(rng.standard_normal(DIM), _IMAGE_MEAN, _IMAGE_MEAN_NORM)
        text_rest = _MEANS_ALIKE * image_mean / np.abs(image_mean).mean()
        text_mean = _mean(text_rest + rng.standard_normal(DIM), _TEXT_MEAN, _TEXT_MEAN_NORM)
        self._image = _cone(image_mean, basis, _IMAGE_DECAY, _IMAGE_MEANING)
        self._text = _cone(text_mean, basis, _TEXT_DECAY, _TEXT_MEANING)
        topics = rng.standard_normal((_TOPICS, _LATENT))
        self.topic_of = rng.integers(0, _TOPICS, _SUBTOPICS)
        subtopics = np.sqrt(_TOPIC_SHARE) * topics[self.topic_of]
        subtopics += np.sqrt(_SUBTOPIC_SHARE) * rng.standard_normal((_SUBTOPICS, _LATENT))
        self._subtopics = subtopics.astype(np.float32)
        popularity = np.arange(1, _SUBTOPICS + 1) ** -_POPULARITY_DECAY
        self._popularity = np.cumsum(popularity / popularity.sum())

    def vectors(self, start: int, stop: int) -> Vectors:
        """The embeddings of rows [start, stop), whole in memory (4 kB a row)."""
        parts = [self._block(cut.block).cut(cut.low, cut.high) for cut in _cuts(start, stop)]
        if not parts:
            empty = np.empty((0, DIM), np.float32)
            return Vectors(empty, empty, np.empty(0, np.int64))
        return Vectors(
            np.concatenate([part.image for part in parts]),
            np.concatenate([part.text for part in parts]),
            np.concatenate([part.subtopic for part in parts]),
        )

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Rows [start, stop) with their metadata, at most BLOCK at a time."""
        for cut in _cuts(start, stop):
            whole = self._block(cut.block)
            metadata = self._metadata(cut.block, whole).slice(cut.low, cut.high - cut.low)
            part = whole.cut(cut.low, cut.high)
            yield Batch(cut.block * BLOCK + cut.low, part.image, part.text, metadata)

    def _block(self, block: int) -> Vectors:
        rng = np.random.Generator(np.random.SFC64([self.seed, block, 0]))
        subtopic = np.searchsorted(self._popularity, rng.random(BLOCK)).astype(np.int64)
        subtopic = np.minimum(subtopic, _SUBTOPICS - 1)  # rounding may leave the sum below 1
        own = rng.standard_normal((BLOCK, _LATENT), dtype=np.float32)
        own *= np.float32(np.sqrt(1 - _TOPIC_SHARE - _SUBTOPIC_SHARE))
        meaning = self._subtopics[subtopic] + own
        return Vectors(
            self._image.vectors(rng, meaning), self._text.vectors(rng, meaning), subtopic
        )

    def _metadata(self, block: int, vectors: Vectors) -> pa.Table:
        """url, caption, NSFW, similarity (the pair's cosine), LICENSE, width and height."""
        draw = _Draw(np.random.Generator(np.random.SFC64([self.seed, block, 1])))
        words = _Words(draw, self.topic_of[vectors.subtopic], block * BLOCK)
        cosine = np.einsum("ij,ij->i", vectors.image, vectors.text)
        columns = {
            "url": words.urls(),
            "caption": words.captions(),
            "NSFW": draw.words(("UNLIKELY", "UNSURE", "NSFW"), (0.92, 0.06, 0.02)),
            "similarity": cosine.astype(np.float64),
            "LICENSE": draw.words(("?", "CC BY-SA 4.0"), (0.99, 0.01)),
            "width": draw.numbers(120, 2400).astype(np.int32),
            "height": draw.numbers(120, 2400).astype(np.int32),
        }
        return pa.table(columns)


def write_shard(folder: Path, number: int, rows: int, seed: int = 0) -> None:
    """Shard ``number`` in LAION's layout: rows [number * rows, (number + 1) * rows)."""
    with ShardWriter(folder, number, DIM) as writer:
        for batch in ClipLike(seed).batches(number * rows, (number + 1) * rows):
            writer.append(batch.image, batch.text, batch.metadata)


def _mean(rest: NDArray[np.float64], fixed: dict[int, float], norm: float) -> NDArray[np.float64]:
    """A mean of that norm with the ``fixed`` entries, the others in proportion to ``rest``."""
    mean: NDArray[np.float64] = rest.copy()
    mean[list(_IMAGE_MEAN | _TEXT_MEAN)] = 0
    mean *= np.sqrt(norm**2 - sum(value**2 for value in fixed.values())) / np.linalg.norm(mean)
    mean[list(fixed)] = list(fixed.values())
    return mean


def _cone(
    mean: NDArray[np.float64], basis: NDArray[np.float64], decay: float, meaning: float
) -> _Cone:
    energy = 1 - float(mean @ mean)
    spread = np.arange(1, _LATENT + 1) ** -decay
    spread *= np.sqrt(energy * (1 - _TAIL)) / np.linalg.norm(spread)
    directions = (spread[:, None] * basis).astype(np.float32)
    tail = float(np.sqrt(energy * _TAIL / DIM))
    return _Cone(mean.astype(np.float32), directions, tail, meaning)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Floats:
    """Even noise around 0: bytes serve, many times faster than normal numbers.

    What is seen of it is sums over hundreds of dimensions, which are as good as normal.
    """
    step = np.float32(deviation / np.sqrt((256**2 - 1) / 12))
    noise: Floats = rng.integers(0, 256, shape, dtype=np.uint8) * step
    noise -= np.float32(127.5) * step
    return noise


@dataclass(frozen=True)
class _Cut:
    """Rows [low, high) of a block."""

    block: int
    low: int
    high: int


def _cuts(start: int, stop: int) -> Iterator[_Cut]:
    while start < stop:
        block, low = divmod(start, BLOCK)
        high = min(BLOCK, low + stop - start)
        yield _Cut(block, low, high)
        start += high - low


@dataclass(frozen=True)
class _Draw:
    """Random columns of a whole block."""

    rng: np.random.Generator

    def numbers(self, low: int, high: int) -> NDArray[np.int64]:
        return self.rng.integers(low, high, BLOCK)

    def words(self, words: tuple[str, ...], weights: tuple[float, ...] | None = None) -> pa.Array:
        if weights is None:
            return pa.array(words).take(pa.array(self.numbers(0, len(words))))
        edges = np.cumsum(weights)[:-1]
        return pa.array(words).take(pa.array(np.searchsorted(edges, self.rng.random(BLOCK))))

    def sometimes(self, share: float, values: pa.Array) -> pa.Array:
        """``values`` in that share of the rows, null elsewhere."""
        return pc.if_else(pa.array(self.rng.random(BLOCK) < share), values, None)


_ADJECTIVES = (
    "vintage", "modern", "handmade", "small", "antique", "black and white", "beautiful", "custom",
    "wooden", "wireless", "abstract", "personalized", "red", "blue", "stainless steel", "organic",
    "premium", "portable", "cute", "rustic", "professional", "waterproof", "tropical", "classic",
)  # fmt: skip
_NOUNS = (
    "wedding dress", "mountain lake", "coffee table", "running shoes", "living room", "golden dog",
    "kitchen cabinet", "oil painting", "birthday cake", "city skyline", "leather bag", "t-shirt",
    "phone case", "garden chair", "silver ring", "sports car", "christmas card", "baby blanket",
    "wall clock", "chocolate cookies", "fishing boat", "horse", "business card", "floor lamp",
    "football team", "summer beach", "guitar", "winter forest", "old church", "computer desk",
    "flower bouquet", "cat",
)  # fmt: skip
_PLACES = (
    "in the sun", "for women", "on white background", "with free shipping", "by Anna Müller",
    "stock photo", "for sale in London", "Royalty Free Vector", "at the museum", "from above",
    "2018", "in 東京", "set of 4", "à Paris", "and how to make it", "- Pinterest", "| eBay",
    "size L", "Canvas Print", "near the river", "Wallpaper HD", "for kids",
)  # fmt: skip
_ODD = ('12" x 16"', '"Best of 2019",', "Lovely, soft,", "It's", "10% off;", "😍", "(NEW)", "A/B,")
_HOSTS = (
    "https://i.pinimg.com/736x", "https://cdn.shopify.com/s/files/1/0250/7914/products",
    "http://static1.squarespace.com/static/content", "https://images-na.ssl-images-amazon.com/I",
    "https://thumbs.dreamstime.com/b", "http://www.example.org/wp-content/uploads/2017/05",
    "https://i.ebayimg.com/images/g", "https://st3.depositphotos.com/i/450",
    "https://render.fineartamerica.com/images/rendered/default/print",
)  # fmt: skip


@dataclass(frozen=True)
class _Words:
    """Urls of about 90 bytes and captions of about 60, those of one topic about one thing."""

    draw: _Draw
    topic: NDArray[np.int64]
    first_row: int

    def captions(self) -> pa.Array:
        draw = self.draw
        return _join(
            " ",
            draw.sometimes(0.12, draw.words(_ODD)),
            draw.words(_ADJECTIVES),
            self._nouns(),
            draw.sometimes(0.9, draw.words(_PLACES)),
            draw.sometimes(0.5, draw.words(_ADJECTIVES)),
            draw.sometimes(0.75, draw.words(_PLACES)),
            draw.sometimes(0.65, draw.words(_NOUNS)),
        )

    def urls(self) -> pa.Array:
        draw = self.draw
        slug = pc.replace_substring(self._nouns(), " ", "-")
        rows = pa.array(np.arange(self.first_row, self.first_row + BLOCK)).cast(pa.string())
        stem = _join("-", slug, draw.words(_ADJECTIVES[:5]), rows)
        stem = pc.replace_substring(stem, " ", "%20")
        hashed = pa.array(draw.numbers(10**15, 10**16)).cast(pa.string())
        query = draw.sometimes(0.2, pa.array(["?w=640&h=480&fit=crop"] * BLOCK))
        name = _join("", stem, draw.words((".jpg", ".png", ".jpeg"), (0.88, 0.08, 0.04)), query)
        return _join("/", draw.words(_HOSTS), hashed, name)

    def _nouns(self) -> pa.Array:
        return pa.array(_NOUNS).take(pa.array(self.topic % len(_NOUNS)))


def _join(separator: str, *columns: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(*columns, separator, null_handling="skip")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write shards of CLIP-like rows.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of each shard")
    parser.add_argument("--shards", default="0", help="as in 0-9,12")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    numbers = parse_shard_numbers(options.shards)
    if numbers is None:
        parser.error("--shards all: name the shards to write, as in 0-9,12")
    for number in sorted(numbers):
        write_shard(options.folder, number, options.rows, options.seed)
        print(f"shard {number}: {options.rows:,} rows in {options.folder}")


if __name__ == "__main__":
    main()
