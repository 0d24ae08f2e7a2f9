"""Pictures that SQL may open: regular files of a safe size in the allowed folders."""

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
    """Open a picture as RGB; a relative path begins at the first of ``folders``.

    Raises PictureError if the path leads out of all ``folders``, directly or by links, or the file
    is missing, not a regular file, larger than MAX_BYTES, or not a picture of a safe size.
    """
    shown = name.decode("utf-8", "replace")
    with _open(shown, _resolve(name, shown, folders)) as stream:
        return read_picture(stream, shown)


def _resolve(name: bytes, shown: str, folders: Sequence[str]) -> Path:
    if not name or b"\0" in name:
        raise PictureError(f"{shown!r}: not the path of a picture")
    if not folders:
        raise PictureError(f"{shown}: no folder of pictures is allowed")
    try:
        path = Path(folders[0], os.fsdecode(name)).resolve()
    except (OSError, RuntimeError) as error:
        raise PictureError(f"{shown}: not the path of a picture: {error}") from error
    if not any(path.is_relative_to(Path(folder).resolve()) for folder in folders):
        raise PictureError(f"{shown}: outside of the allowed folders ({', '.join(folders)})")
    return path


@contextmanager
def _open(shown: str, path: Path) -> Iterator[BinaryIO]:
    # The resolved path has no links. A link that was made since is not followed, and opening a
    # pipe does not wait.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise PictureError(f"{shown}: {reason}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{shown}: not a file")
        if status.st_size > MAX_BYTES:
            raise PictureError(
                f"{shown}: {status.st_size:,} bytes, more than the limit of {MAX_BYTES:,}"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            yield stream
    finally:
        os.close(descriptor)
