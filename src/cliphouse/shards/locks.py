"""Lock files: of several processes that work through one list, each takes what no other has."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cliphouse.shards.partial_file import disk_errors, make_folder


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` while the block runs; yields False if another process has it.

    The lock of a process that was killed is free. A file system without locks gives every process
    the lock. Raises UserError if the file cannot be made.
    """
    make_folder(path.parent)
    with disk_errors(path):
        descriptor = _lock(path)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def lock_holder(path: Path) -> str:
    """The process that has the lock file, in words."""
    with suppress(OSError):
        return path.read_text() or "another process"
    return "another process"


def _lock(path: Path) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # a file system without locks
            return descriptor
        # The process that held the lock before may have removed the file that was opened.
        if _is_still(path, descriptor):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return descriptor
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False
