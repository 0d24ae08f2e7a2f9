"""Pictures and captions to rows: vectors with their metadata, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cliphouse.models import Encoder
from cliphouse.pictures.find import Picture
from cliphouse.pictures.passed_over import PassedOver
from cliphouse.pictures.read_file import ReadPicture, read_file

Entry = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """Rows of pictures: two float arrays of shape (n, dim), and n entries of metadata without their
    numbers in a shard."""

    image: NDArray[np.floating[Any]]
    text: NDArray[np.floating[Any]]
    entries: list[Entry]

    def __len__(self) -> int:
        return len(self.entries)

    @classmethod
    def none(cls, dim: int) -> Rows:
        empty = np.empty((0, dim), np.float32)
        return cls(empty, empty, [])

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all ``parts``, of which there is at least one."""
        image, text = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("image", "text")
        )
        return cls(image, text, [entry for part in parts for entry in part.entries])

    def take(self, places: Sequence[int]) -> Rows:
        chosen = list(places)
        return Rows(self.image[chosen], self.text[chosen], [self.entries[i] for i in chosen])


@dataclass(frozen=True)
class Batch:
    """The rows of some pictures, and those of them that cannot be read."""

    rows: Rows
    passed: list[PassedOver]


def encode_pictures(
    pictures: Sequence[Picture], encoder: Encoder, max_pixels: int, size: int
) -> Iterator[Batch]:
    """Read and encode pictures in batches of ``size``; the next batch is read while one is
    encoded."""
    batches = [pictures[start : start + size] for start in range(0, len(pictures), size)]

    def read(picture: Picture) -> ReadPicture | PassedOver:
        return read_file(picture, encoder, max_pixels)

    with ThreadPoolExecutor() as pool:
        ahead = [pool.map(read, batch) for batch in batches[:1]]
        for index in range(len(batches)):
            if index + 1 < len(batches):
                ahead.append(pool.map(read, batches[index + 1]))
            done = list(ahead.pop(0))
            good = [item for item in done if isinstance(item, ReadPicture)]
            bad = [item for item in done if isinstance(item, PassedOver)]
            yield Batch(_encode(good, encoder), bad)


def encode_captions(encoder: Encoder, captions: Sequence[str]) -> NDArray[np.float32]:
    """The vectors of captions, float32 of shape (n, dim). That of an empty caption is the opposite
    of an empty text's: it is farther from all words than any caption is, so no search finds it."""
    text = encoder.encode_text(captions)
    text[[not caption for caption in captions]] *= -1
    return text


def describe(picture: Picture, width: int, height: int, similarity: float) -> Entry:
    """The metadata of a picture's row. ``similarity`` is that of its vectors; without a caption it
    is not known."""
    return {
        "image_path": picture.url,
        "caption": picture.caption,
        "width": width,
        "height": height,
        "similarity": similarity if picture.caption else None,
        "file_bytes": picture.bytes,
        "file_mtime_ns": picture.mtime_ns,
        "file_hash": picture.hash,
        "file_name": picture.path.name,
        "folder": picture.folder,
        "frame_time": picture.frame,
        "video_seconds": picture.video_seconds,
    }


def _encode(pictures: Sequence[ReadPicture], encoder: Encoder) -> Rows:
    if not pictures:
        return Rows.none(encoder.dim)
    image = encoder.encode_image([item.image for item in pictures])
    text = encode_captions(encoder, [item.picture.caption for item in pictures])
    similarities = np.einsum("ij,ij->i", image, text).tolist()
    entries = [
        asdict(item.photograph) | describe(item.picture, item.width, item.height, similarity)
        for item, similarity in zip(pictures, similarities, strict=True)
    ]
    return Rows(image, text, entries)
