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
    if it was made for it. Raises DiskError or UserError if it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    is_new = not path.parent.exists()
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                yield stream
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
            if is_new and not path.exists():
                with suppress(OSError):  # another file is there by now
                    path.parent.rmdir()
