"""Errors of writing to a disk, in one line that names the file and says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cliphouse.errors import CliphouseError, UserError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_USER_ERRORS = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


class DiskError(CliphouseError):
    """A file could not be written, as on a full disk."""


@contextmanager
def disk_errors(path: Path, kind: type[CliphouseError] = DiskError) -> Iterator[None]:
    """Turn an error of the system into one that names ``path`` and says what to do: a UserError if
    the user may not write there, else one of ``kind``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        if error.errno in DISK_FULL:
            raise kind(
                f"{path}: the disk is full ({reason}); make room, and run the same command again"
            ) from error
        if error.errno in _USER_ERRORS:
            raise UserError(
                f"{path}: cannot be written ({reason}); choose a folder that you may write to"
            ) from error
        raise kind(f"{path}: cannot be written ({reason})") from error


def write_whole(path: Path, text: str, writer: str = "") -> None:
    """Write a file in one step, so that no reader sees half of it. Of several writers at once each
    is told apart by ``writer``. Raises what `disk_errors` makes of an error."""
    part = path.with_name(f"{path.name}{writer}.part")
    with disk_errors(path):
        try:
            part.write_text(text, "utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
