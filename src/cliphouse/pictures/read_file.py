"""Reading a picture's file: its pixels, and the hash of its bytes."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import xxhash
from PIL import Image

from cliphouse.errors import PictureError
from cliphouse.models import Encoder
from cliphouse.pictures.files import LargePictureError, read_with, upright_size
from cliphouse.pictures.find import Picture
from cliphouse.pictures.passed_over import Kind, PassedOver
from cliphouse.pictures.photograph import Photograph, read_photograph
from cliphouse.pictures.raw import is_raw, read_raw
from cliphouse.pictures.video import frame_name, read_frame

_CHUNK = 2**20


@dataclass(frozen=True)
class ReadPicture:
    """A picture at the model's scale, and the width and height of the file. ``picture`` has its
    hash, and the size and time that the file had when it was read."""

    picture: Picture
    photograph: Photograph
    image: Image.Image
    width: int
    height: int


def read_file(picture: Picture, encoder: Encoder, max_pixels: int) -> ReadPicture | PassedOver:
    """Read a picture's file for ``encoder``, or say why it cannot be."""
    path = Path(picture.name)
    try:
        picture, image, size, photograph = _read(picture, encoder, max_pixels)
        picture = with_own_caption(picture, photograph.caption)
        return ReadPicture(picture, photograph, encoder.shrink(image), *size)
    except OSError as error:
        return PassedOver(path, f"cannot be read: {error.strerror or error}", "unreadable")
    except PictureError as error:
        kind: Kind = "too large" if isinstance(error, LargePictureError) else "damaged"
        return PassedOver(path, str(error).removeprefix(f"{picture.path}: "), kind)


def _read(
    picture: Picture, encoder: Encoder, max_pixels: int
) -> tuple[Picture, Image.Image, tuple[int, int], Photograph]:
    """The picture as it was read, its pixels, its size and what it knows of itself."""
    path = picture.path
    if picture.frame is not None:
        image, photograph = read_frame(path, picture.frame, max_pixels)
        return _hashed(picture), image, image.size, photograph
    if is_raw(path):
        picture = _hashed(picture)
        return picture, *read_raw(path, max_pixels)
    with path.open("rb") as stream:
        picture = _described(picture, stream)
        stream.seek(0)
        image, (size, photograph) = read_with(
            stream, str(path), max_pixels, _look, lambda: encoder.decoding_edge
        )
    return picture, image, size, photograph


def _look(image: Image.Image) -> tuple[tuple[int, int], Photograph]:
    return upright_size(image), read_photograph(image)


def with_own_caption(picture: Picture, caption: str) -> Picture:
    """The picture with the ``caption`` that the photograph itself has, unless it is empty or there
    is a better one."""
    return replace(picture, caption=caption) if picture.is_named and caption else picture


def hash_file(picture: Picture) -> Picture:
    """The picture with the hash of its file, or as it is if the file cannot be read."""
    try:
        return _hashed(picture)
    except OSError:
        return picture


def _hashed(picture: Picture) -> Picture:
    """The picture with the hash of its file. Raises OSError."""
    if picture.frame is None:
        with picture.path.open("rb") as stream:
            return _described(picture, stream)
    status = picture.path.stat()
    digest = _video_hash(picture.path, status.st_size, status.st_mtime_ns)
    return _as_read(picture, status, frame_name(digest, picture.frame))


@functools.lru_cache(maxsize=1000)
def _video_hash(path: Path, size: int, mtime_ns: int) -> str:
    """The hash of a video, which is read once for all of its frames."""
    with path.open("rb") as stream:
        return _digest(stream)


def _described(picture: Picture, stream: BinaryIO) -> Picture:
    """The size and time are those from before the file was read: if it is written meanwhile, they
    differ the next time."""
    status = os.fstat(stream.fileno())
    return _as_read(picture, status, _digest(stream))


def _as_read(picture: Picture, status: os.stat_result, digest: str) -> Picture:
    return replace(picture, bytes=status.st_size, mtime_ns=status.st_mtime_ns, hash=digest)


def _digest(stream: BinaryIO) -> str:
    digest = xxhash.xxh3_128()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
