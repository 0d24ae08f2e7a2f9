"""Opening a picture, whatever is in the file, safely."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cliphouse.errors import ModelError, PictureError
from cliphouse.pictures.formats import MAX_PIXELS, NOT_PICTURES
from cliphouse.pictures.pixels import as_rgb

# Among the filters, this one is known as ours by its pattern.
_NO_SIZE_WARNING = ("ignore", re.compile("Image size"), Image.DecompressionBombWarning, None, 0)
_Seen = TypeVar("_Seen")
_WORTH_DRAFTING = 1000  # pixels of the shorter edge; smaller pictures are decoded in 5 ms
_USUAL = ("JPEG", "PNG", "GIF", "BMP", "PPM")  # those that Pillow imports first


class LargePictureError(PictureError):
    """A picture has more pixels than the limit."""


def open_picture(path: Path, max_pixels: int = MAX_PIXELS, edge: int | None = None) -> Image.Image:
    """Open a picture as RGB: upright by its EXIF orientation, transparency on white, first frame.
    With ``edge``, a large JPEG is decoded smaller, with at least so many pixels on each side.

    Raises PictureError if the file is not a picture, is damaged, or has more than ``max_pixels``.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"{path}: cannot be read as a picture: {error}") from error
    smaller = None if edge is None else lambda: edge
    with stream:
        return read_with(stream, str(path), max_pixels, lambda image: None, smaller)[0]


def read_picture(stream: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture as `open_picture` does, from an open file; ``name`` is its name in errors."""
    return read_with(stream, name, max_pixels, lambda image: None)[0]


def read_with(
    stream: BinaryIO,
    name: str,
    max_pixels: int,
    look: Callable[[Image.Image], _Seen],
    edge: Callable[[], int] | None = None,
) -> tuple[Image.Image, _Seen]:
    """Read a picture as `read_picture` does, and ``look`` at what Pillow has opened before it is
    decoded. A large JPEG is decoded at a half, a quarter or an eighth of its size, with at least
    the pixels of ``edge`` on its shorter edge; None keeps its size. ``edge`` is called only for
    such a one, and its errors are passed on."""
    try:
        with _no_size_warning(), identify(stream) as image:
            if image.width * image.height > max_pixels:
                raise LargePictureError(
                    f"{name}: {image.width} x {image.height} pixels, more than the limit of "
                    f"{max_pixels:,}; make it smaller"
                )
            seen = look(image)
            if edge is not None and min(image.size) >= _WORTH_DRAFTING:
                image.draft(None, (edge(), edge()))
            return as_rgb(ImageOps.exif_transpose(image)), seen
    except (PictureError, ModelError):
        raise
    except Image.DecompressionBombError:
        raise LargePictureError(
            f"{name}: far more pixels than the limit of {max_pixels:,}; make it smaller"
        ) from None
    # Pillow's decoders raise many types for damaged files: OSError, SyntaxError, struct.error ...
    except Exception as error:
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise PictureError(f"{name}: cannot be read as a picture: {reason}") from error


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of a picture that Pillow has opened, as it is when turned upright."""
    is_turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (image.height, image.width) if is_turned else image.size


def identify(file: BinaryIO | Path) -> Image.Image:
    """The picture as Pillow opens it, of which only the header is read yet. Raises what Pillow
    raises."""
    try:
        return Image.open(file, formats=_USUAL)
    except UnidentifiedImageError:
        return Image.open(file, formats=picture_formats())  # which take time to import


@functools.cache
def picture_formats() -> tuple[str, ...]:
    """The names of the formats that are read, as Pillow calls them."""
    import pi_heif  # pillow-heif without its encoder, which is under the GPL

    Image.init()
    pi_heif.register_heif_opener()
    return tuple(name for name in Image.OPEN if name not in NOT_PICTURES)


@contextmanager
def _no_size_warning() -> Iterator[None]:
    """Silence Pillow's warning about large pictures, which read_picture refuses by itself.

    ``warnings.catch_warnings`` would not do: it restores a copy of the filters, which is wrong if
    threads overlap, and it has warnings that were shown once shown again.
    """
    filters = cast("list[object]", warnings.filters)
    filters.insert(0, _NO_SIZE_WARNING)
    try:
        yield
    finally:
        with suppress(ValueError):  # another thread has restored filters from before
            cast("list[object]", warnings.filters).remove(_NO_SIZE_WARNING)
