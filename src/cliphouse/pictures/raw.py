"""RAW photographs, by rawpy, which is an extra: ``pip install cliphouse[raw]``."""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from cliphouse.errors import PictureError
from cliphouse.pictures.files import LargePictureError
from cliphouse.pictures.formats import RAW_SUFFIXES
from cliphouse.pictures.photograph import Photograph, read_photograph

if TYPE_CHECKING:
    import rawpy

_LEAST_PREVIEW = 500  # pixels of its longer edge; smaller ones are but icons
# What LibRaw calls a turn, as the number of EXIF's orientation.
_ORIENTATIONS = {3: 3, 5: 8, 6: 6}


def is_raw(path: Path) -> bool:
    """Whether ``path`` has the suffix of a RAW photograph."""
    return path.suffix.lower() in RAW_SUFFIXES


@functools.cache
def can_read_raw() -> bool:
    """Whether rawpy is installed."""
    return importlib.util.find_spec("rawpy") is not None


def read_raw(path: Path, max_pixels: int) -> tuple[Image.Image, tuple[int, int], Photograph]:
    """The picture of a RAW photograph, upright in RGB, its width and height, and what it knows of
    itself.

    The picture is the preview that the camera has put into the file, or if there is none, a
    development at half the size. Raises PictureError if it cannot be read, or has more than
    ``max_pixels``.
    """
    with _opened(path) as raw:
        sizes = raw.sizes
        if sizes.width * sizes.height > max_pixels:
            raise LargePictureError(
                f"{path}: {sizes.width} x {sizes.height} pixels, more than the limit of "
                f"{max_pixels:,}"
            )
        turn = _ORIENTATIONS.get(sizes.flip, 1)
        size = (sizes.height, sizes.width) if turn in (6, 8) else (sizes.width, sizes.height)
        preview = _preview(raw)
        if preview is None:
            developed = Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True))
            return developed, size, replace(_known(path), orientation=turn)
    known = _known(path) if not preview.getexif() else read_photograph(preview)
    exif = Image.Exif()
    exif[0x0112] = known.orientation or turn
    upright = preview.convert("RGB")
    upright.info["exif"] = exif.tobytes()
    return ImageOps.exif_transpose(upright), size, replace(known, orientation=exif[0x0112])


@contextmanager
def _opened(path: Path) -> Iterator[rawpy.RawPy]:
    import rawpy

    try:
        with path.open("rb") as stream, rawpy.imread(stream) as raw:
            yield raw
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise PictureError(f"{path}: cannot be read as a RAW photograph: {reason}") from error


def _preview(raw: rawpy.RawPy) -> Image.Image | None:
    """The preview, as it is in the file; None if there is none worth its name."""
    import rawpy

    try:
        found = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if found.format == rawpy.ThumbFormat.JPEG:
        assert isinstance(found.data, bytes)
        image: Image.Image = Image.open(io.BytesIO(found.data))
    else:
        image = Image.fromarray(np.asarray(found.data))
    return image if max(image.size) >= _LEAST_PREVIEW else None


def _known(path: Path) -> Photograph:
    """What the file itself says: most kinds of RAW are TIFF files, as EXIF is."""
    carrier = Image.new("L", (1, 1))
    carrier.info["exif"] = b"Exif\0\0" + path.read_bytes()
    return read_photograph(carrier)
