"""Pictures that SQL may open: regular files below given folders, of a size that is safe to read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from cliphouse.errors import PictureError
from cliphouse.pictures.files import read_picture

MAX_BYTES = 128 * 2**20  # no camera's picture is larger


def open_allowed(name: bytes, folders: Sequence[str]) -> Image.Image:
    """The picture of that path as RGB; a relative path begins at the first of ``folders``.

    Raises PictureError where the path leads out of all ``folders``, directly or by links, or the
    file is missing, no regular file, larger than MAX_BYTES, or no picture that can be read safely.
    """
    shown = name.decode("utf-8", "replace")
    with _open(shown, _resolve(name, shown, folders)) as stream:
        return read_picture(stream, shown)


def _resolve(name: bytes, shown: str, folders: Sequence[str]) -> Path:
    if not name or b"\0" in name:
        raise PictureError(f"{shown!r}: no path of a picture")
    if not folders:
        raise PictureError(f"{shown}: no folder is given to open pictures in")
    try:
        path = Path(folders[0], os.fsdecode(name)).resolve()
    except (OSError, RuntimeError) as error:
        raise PictureError(f"{shown}: no path of a picture: {error}") from error
    if not any(path.is_relative_to(Path(folder).resolve()) for folder in folders):
        raise PictureError(f"{shown}: outside of {', '.join(folders)}, where pictures may be")
    return path


@contextmanager
def _open(shown: str, path: Path) -> Iterator[BinaryIO]:
    # The path is free of links by now; one put there since is not followed, and a pipe not
    # waited for.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise PictureError(f"{shown}: {reason}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{shown}: no file")
        if status.st_size > MAX_BYTES:
            raise PictureError(
                f"{shown}: {status.st_size:,} bytes, more than the {MAX_BYTES:,} read safely"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            yield stream
    finally:
        os.close(descriptor)
