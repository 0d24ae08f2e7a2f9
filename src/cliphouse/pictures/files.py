"""Pictures on disk: finding them with their captions, and opening one safely."""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from PIL import Image, ImageOps, UnidentifiedImageError

from cliphouse.errors import PictureError
from cliphouse.pictures.formats import MAX_PIXELS, SUFFIXES

CAPTIONS_FILE = "captions.csv"

# Among the filters, this one is known as ours by its pattern.
_NO_SIZE_WARNING = ("ignore", re.compile("Image size"), Image.DecompressionBombWarning, None, 0)


@dataclass(frozen=True)
class Picture:
    """A picture file and its caption. ``bytes`` and ``mtime_ns`` show whether it has changed."""

    path: Path
    caption: str
    bytes: int
    mtime_ns: int


def find_pictures(folder: Path) -> list[Picture]:
    """Find the pictures in ``folder`` and its subfolders, by path; hidden ones are left out.

    A caption is the text of the sidecar ``NAME.txt``, else the picture's line in a ``captions.csv``
    of ``folder`` (columns file and caption), else the file's name in words.

    Raises PictureError if the folder is missing or captions.csv cannot be read.
    """
    if not folder.is_dir():
        raise PictureError(f"{folder}: no such folder")
    folder = folder.resolve()
    listed = _read_captions(folder)
    pictures = []
    for path in _walk(folder):
        stat = path.stat()
        caption = _caption(path, listed.get(path.relative_to(folder).as_posix()))
        pictures.append(Picture(path, caption, stat.st_size, stat.st_mtime_ns))
    return pictures


def open_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture as RGB: upright by its EXIF orientation, transparency on white, first frame.

    Raises PictureError if the file is not a picture, is damaged, or has more than ``max_pixels``.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"{path}: cannot be read as a picture: {error}") from error
    with stream:
        return read_picture(stream, str(path), max_pixels)


def read_picture(stream: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture as `open_picture` does, from an open file; ``name`` is its name in errors."""
    try:
        with _no_size_warning(), Image.open(stream) as image:
            if image.width * image.height > max_pixels:
                raise PictureError(
                    f"{name}: {image.width} x {image.height} pixels, more than the limit of "
                    f"{max_pixels:,}; make it smaller"
                )
            return _as_rgb(ImageOps.exif_transpose(image))
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(
            f"{name}: far more pixels than the limit of {max_pixels:,}; make it smaller"
        ) from None
    # Pillow's decoders raise many types for damaged files: OSError, SyntaxError, struct.error ...
    except Exception as error:
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise PictureError(f"{name}: cannot be read as a picture: {reason}") from error


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


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and path.is_file():
                yield path


def _caption(path: Path, listed: str | None) -> str:
    sidecar = path.with_suffix(".txt")
    if sidecar.is_file() and os.access(sidecar, os.R_OK):
        return sidecar.read_text("utf-8", errors="replace").strip()
    if listed is not None:
        return listed
    words = re.sub(r"[\s_\-]+", " ", path.stem).strip()
    return words.encode("utf-8", "replace").decode()


def _read_captions(folder: Path) -> dict[str, str]:
    path = folder / CAPTIONS_FILE
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            names = {name.strip().lower(): name for name in reader.fieldnames or ()}
            file = next((names[n] for n in ("file", "filename", "file_name") if n in names), None)
            caption = next((names[n] for n in ("caption", "text") if n in names), None)
            if file is None or caption is None:
                raise PictureError(
                    f"{path}: the first line must name the columns file and caption, "
                    f"not {', '.join(reader.fieldnames or ['nothing'])}"
                )
            return {
                Path(row[file]).as_posix(): (row[caption] or "").strip()
                for row in reader
                if row[file]
            }
    except (csv.Error, UnicodeDecodeError) as error:
        raise PictureError(f"{path}: not readable as CSV in UTF-8: {error}") from error
