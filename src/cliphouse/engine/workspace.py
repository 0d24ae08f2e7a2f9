"""A temporary folder for copies of remote shards, converted CSV and staged batches."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def workspace_folder() -> Iterator[Path]:
    """A temporary folder named after this process, removed at the end of the block."""
    folder = make_workspace()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_workspace() -> Path:
    """Make a temporary folder named after this process; the caller removes it.

    The folders of processes that were killed are removed first, because shards are large.
    """
    for stale in Path(tempfile.gettempdir()).glob("cliphouse-*-*"):
        match = re.fullmatch(r"cliphouse-(\d+)-\w+", stale.name)
        if match and not is_running(int(match[1])):
            shutil.rmtree(stale, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"cliphouse-{os.getpid()}-"))


def is_running(process: int) -> bool:
    """Whether a process with this id runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's process
    return True
