"""A folder for what passes through: copies of remote shards, converted CSV, staged batches."""

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
    """A temporary folder named after this process, gone at the end."""
    folder = make_workspace()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_workspace() -> Path:
    """A temporary folder named after this process, for the caller to remove. Those of processes
    that were killed are removed first: a shard is too large to be left lying about."""
    for stale in Path(tempfile.gettempdir()).glob("cliphouse-*-*"):
        match = re.fullmatch(r"cliphouse-(\d+)-\w+", stale.name)
        if match and not is_running(int(match[1])):
            shutil.rmtree(stale, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"cliphouse-{os.getpid()}-"))


def is_running(process: int) -> bool:
    """Whether there is a process of that id on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
