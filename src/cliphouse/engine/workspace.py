"""A temporary folder for copies of remote shards, converted CSV and staged batches."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_locks: dict[Path, int] = {}  # file descriptors that hold the folders of this process


@contextmanager
def workspace_folder() -> Iterator[Path]:
    """A temporary folder named after this process, removed at the end of the block."""
    folder = make_workspace()
    try:
        yield folder
    finally:
        remove_workspace(folder)


def make_workspace() -> Path:
    """Make a temporary folder named after this process, which remove_workspace removes.

    The folders of processes that were killed are removed first, because shards are large. A process
    of another container, which nobody here sees, keeps its own locked.
    """
    for stale in Path(tempfile.gettempdir()).glob("cliphouse-*-*"):
        match = re.fullmatch(r"cliphouse-(\d+)-\w+", stale.name)
        if match and not is_running(int(match[1])) and not _is_locked(stale):
            shutil.rmtree(stale, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=".cliphouse-"))  # a name that nobody looks for yet
    lock = os.open(made, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_SH)
    folder = made.with_name(f"cliphouse-{os.getpid()}-{made.name.removeprefix('.cliphouse-')}")
    made.rename(folder)
    _locks[folder] = lock
    return folder


def remove_workspace(folder: Path) -> None:
    """Remove a folder that make_workspace has made."""
    shutil.rmtree(folder, ignore_errors=True)
    if (lock := _locks.pop(folder, None)) is not None:
        os.close(lock)


def _is_locked(folder: Path) -> bool:
    """Whether a process holds the folder, or nobody can tell."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def is_running(process: int) -> bool:
    """Whether a process with this id runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's process
    return True
