"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cliphouse.shards.disk import disk_errors


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` for writing; it gets its name only when all of it is written.

    Until then it is called ``path`` with ``.part`` behind it. An error removes that, and the folder
    if it was made for it. A link stays one, and what it leads to is written. A device or a pipe,
    such as /dev/stdout, is written to as it is. Raises DiskError or UserError if it cannot be
    written.
    """
    with disk_errors(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as stream:
                yield stream
            return
        target = path.resolve() if path.is_symlink() else path
        part = target.with_name(target.name + ".part")
        is_new = not target.parent.exists()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                yield stream
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
            if is_new and not target.exists():
                with suppress(OSError):  # another file is there by now
                    target.parent.rmdir()
