"""Embedding a folder of pictures into shards; a second run embeds only new and changed pictures.

The shards themselves record what is done: their metadata has each picture's size and modification
time, and is written last. A crash cannot leave a second record that disagrees with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from cliphouse.errors import PictureError
from cliphouse.models import Encoder
from cliphouse.pictures.files import LargePictureError, open_picture
from cliphouse.pictures.find import Picture, find_pictures
from cliphouse.pictures.formats import MAX_PIXELS
from cliphouse.pictures.output import foreign, shard_files, take_folder
from cliphouse.pictures.passed_over import Kind, PassedOver, describe
from cliphouse.shards.files import Shard, find_shards
from cliphouse.shards.writer import ShardWriter
from cliphouse.vocabulary import Progress

_SCHEMA = pa.schema(
    [
        ("image_path", pa.string()),
        ("caption", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("similarity", pa.float32()),
        ("file_bytes", pa.int64()),
        ("file_mtime_ns", pa.int64()),
    ]
)


@dataclass(frozen=True)
class EmbedSizes:
    """The rows of a full shard, and the pictures that the model takes at once."""

    shard: int = 4096  # a crash loses at most a shard: some minutes of ViT-B/32 on two cores
    batch: int = 64


EMBED_SIZES = EmbedSizes()


@dataclass
class EmbedReport:
    """The numbers of pictures that a run found new, changed, unchanged and gone. ``skipped`` is
    all else that is in the folder."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0
    skipped: list[PassedOver] = field(default_factory=list)


@dataclass(frozen=True)
class _KnownRow:
    """A picture's row in the shards, and the size and time of the file that was embedded."""

    shard: Shard
    row: int
    caption: str
    bytes: int
    mtime_ns: int

    def matches(self, picture: Picture) -> bool:
        return (self.caption, self.bytes, self.mtime_ns) == (
            picture.caption,
            picture.bytes,
            picture.mtime_ns,
        )


@dataclass(frozen=True)
class _Embedded:
    """Rows ready to be written: two (n, dim) float32 arrays and n rows of metadata."""

    image: NDArray[np.float32]
    text: NDArray[np.float32]
    metadata: pa.Table


@dataclass(frozen=True)
class _Loaded:
    """A picture at the model's scale, with the width and height of the file."""

    picture: Picture
    image: Image.Image
    width: int
    height: int


def embed_folder(
    folder: Path,
    shards: Path,
    encoder: Encoder,
    progress: Progress | None = None,
    max_pixels: int = MAX_PIXELS,
    sizes: EmbedSizes = EMBED_SIZES,
) -> EmbedReport:
    """Embed the pictures in ``folder`` into shards in ``shards``, in clip-retrieval's layout.

    Pictures that cannot be read, or have more than ``max_pixels``, are left out and listed in the
    report, as is everything else in the folder that is no picture. A changed picture keeps its row;
    a picture that is gone from ``folder`` keeps its row, too.

    Raises PictureError if the folder is missing or has no picture, ShardError if ``shards`` has
    shards of another model or another program.
    """
    found = find_pictures(folder)
    pictures = found.pictures
    if not pictures:
        others = f"; passed over: {describe(found.passed)}" if found.passed else ""
        raise PictureError(f"{folder}: no pictures here (.jpg, .png, .heic, .webp ...){others}")
    known = _known_rows(shards, encoder)
    gone = known.keys() - {str(picture.path) for picture in pictures}
    report = EmbedReport(gone=len(gone), skipped=list(found.passed))
    new: list[Picture] = []
    changed: dict[int, dict[int, Picture]] = defaultdict(dict)
    for picture in pictures:
        row = known.get(str(picture.path))
        if row is None:
            new.append(picture)
        elif row.matches(picture):
            report.unchanged += 1
        else:
            changed[row.shard.number][row.row] = picture
    to_do = len(new) + sum(map(len, changed.values()))
    run = _Run(encoder, report, max_pixels, sizes.batch, progress, to_do)
    by_number = {row.shard.number: row.shard for row in known.values()}
    for number, rows in changed.items():
        run.rewrite(shards, by_number[number], rows)
    first = max(by_number, default=-1) + 1
    for offset, start in enumerate(range(0, len(new), sizes.shard)):
        run.write(shards, first + offset, new[start : start + sizes.shard])
    return report


def _known_rows(folder: Path, encoder: Encoder) -> dict[str, _KnownRow]:
    take_folder(folder, encoder)
    _clear_leftovers(folder)
    rows: dict[str, _KnownRow] = {}
    for shard in find_shards([str(folder)]) if any(shard_files(folder)) else []:
        if set(pq.read_schema(shard.metadata.path).names) != set(_SCHEMA.names):
            raise foreign(folder)
        table = pq.read_table(shard.metadata.path, columns=_SCHEMA.names)
        for index, entry in enumerate(table.to_pylist()):
            rows[entry["image_path"]] = _KnownRow(
                shard, index, entry["caption"], entry["file_bytes"], entry["file_mtime_ns"]
            )
    return rows


def _clear_leftovers(folder: Path) -> None:
    """Remove the files of a killed run: unfinished files, and embeddings without metadata."""
    for part in shard_files(folder, ".part"):
        part.unlink()
    for file in shard_files(folder):
        number = file.stem.rsplit("_", 1)[-1]
        if not (folder / "metadata" / f"metadata_{number}.parquet").exists():
            file.unlink()


class _Run:
    """One run: opens pictures, encodes them and writes shards."""

    def __init__(
        self,
        encoder: Encoder,
        report: EmbedReport,
        max_pixels: int,
        batch: int,
        progress: Progress | None,
        total: int,
    ) -> None:
        self._encoder = encoder
        self._report = report
        self._max_pixels = max_pixels
        self._batch = batch
        self._progress = progress
        self._total = total
        self._done = 0

    def write(self, folder: Path, number: int, pictures: Sequence[Picture]) -> None:
        """Write a new shard of ``pictures``."""
        with ShardWriter(folder, number, self._encoder.dim) as writer:
            for rows in self._embed(pictures):
                writer.append(rows.image, rows.text, rows.metadata)
            self._report.new += writer.rows

    def rewrite(self, folder: Path, shard: Shard, rows: dict[int, Picture]) -> None:
        """Write a shard again, with new embeddings of ``rows``, pictures by row number."""
        assert shard.text is not None
        image, text = np.load(shard.image.path), np.load(shard.text.path)
        metadata = pq.read_table(shard.metadata.path, schema=_SCHEMA).to_pylist()
        places = {str(picture.path): row for row, picture in rows.items()}
        for part in self._embed(list(rows.values())):
            for index, entry in enumerate(part.metadata.to_pylist()):
                row = places[entry["image_path"]]
                image[row], text[row], metadata[row] = part.image[index], part.text[index], entry
                self._report.changed += 1
        with ShardWriter(folder, shard.number, self._encoder.dim) as writer:
            writer.append(image, text, pa.Table.from_pylist(metadata, schema=_SCHEMA))

    def _embed(self, pictures: Sequence[Picture]) -> Iterator[_Embedded]:
        for loaded in self._load(pictures):
            if not loaded:
                continue
            image = self._encoder.encode_image([item.image for item in loaded])
            text = encode_captions(self._encoder, [item.picture.caption for item in loaded])
            yield _Embedded(image, text, _metadata(loaded, np.einsum("ij,ij->i", image, text)))

    def _load(self, pictures: Sequence[Picture]) -> Iterator[list[_Loaded]]:
        """Open pictures in batches; the next batch is read while one is encoded."""
        batches = [pictures[i : i + self._batch] for i in range(0, len(pictures), self._batch)]
        with ThreadPoolExecutor() as pool:
            ahead = [pool.map(self._open, batch) for batch in batches[:1]]
            for index, batch in enumerate(batches):
                if index + 1 < len(batches):
                    ahead.append(pool.map(self._open, batches[index + 1]))
                yield list(self._without_skipped(ahead.pop(0)))
                self._done += len(batch)
                if self._progress:
                    self._progress(self._done, self._total)

    def _open(self, picture: Picture) -> _Loaded | PassedOver:
        try:
            image = open_picture(picture.path, self._max_pixels)
            shrunk = self._encoder.shrink(image)
        except PictureError as error:
            kind: Kind = "too large" if isinstance(error, LargePictureError) else "damaged"
            return PassedOver(picture.path, str(error).removeprefix(f"{picture.path}: "), kind)
        return _Loaded(picture, shrunk, image.width, image.height)

    def _without_skipped(self, opened: Iterable[_Loaded | PassedOver]) -> Iterator[_Loaded]:
        for item in opened:
            if isinstance(item, PassedOver):
                self._report.skipped.append(item)
            else:
                yield item


def encode_captions(encoder: Encoder, captions: Sequence[str]) -> NDArray[np.float32]:
    """The vectors of captions, float32 of shape (n, dim). That of an empty caption is the opposite
    of an empty text's: it is farther from all words than any caption is, so no search finds it."""
    text = encoder.encode_text(captions)
    text[[not caption for caption in captions]] *= -1
    return text


def _metadata(loaded: Sequence[_Loaded], similarity: NDArray[np.float32]) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {
            "image_path": str(item.picture.path),
            "caption": item.picture.caption,
            "width": item.width,
            "height": item.height,
            "similarity": value if item.picture.caption else None,
            "file_bytes": item.picture.bytes,
            "file_mtime_ns": item.picture.mtime_ns,
        }
        for item, value in zip(loaded, similarity.tolist(), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)
