"""Opening whatever a row may be made of: a picture, a RAW photograph, a frame of a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cliphouse.pictures.files import open_picture
from cliphouse.pictures.formats import MAX_PIXELS
from cliphouse.pictures.raw import can_read_raw, is_raw, read_raw
from cliphouse.pictures.video import can_read_videos, read_frame, split_frame

if TYPE_CHECKING:
    from PIL import Image


def open_any(name: str, max_pixels: int = MAX_PIXELS, edge: int | None = None) -> Image.Image:
    """The picture of the file or the frame called ``name``, upright in RGB. With ``edge``, a large
    JPEG is decoded smaller, in a fraction of the time, with at least so many pixels on each side.
    Raises PictureError if it cannot be read, or has more than ``max_pixels``."""
    path, seconds = split_frame(name)
    if seconds is not None and can_read_videos():
        return read_frame(Path(path), seconds, max_pixels)[0]
    if is_raw(Path(path)) and can_read_raw():
        return read_raw(Path(path), max_pixels)[0]
    return open_picture(Path(name), max_pixels, edge)


def is_made(name: str) -> bool:
    """Whether the picture is made of the file, which no browser shows."""
    return split_frame(name)[1] is not None or is_raw(Path(name))
