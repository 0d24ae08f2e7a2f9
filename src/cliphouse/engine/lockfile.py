"""A lock file beside an embedded folder that says which service has the folder open."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cliphouse.engine.workspace import is_running


@dataclass(frozen=True)
class Holder:
    """The service that has the folder open: its address and its process."""

    address: str
    pid: int


@contextmanager
def lock_file(folder: Path, address: str) -> Iterator[None]:
    """Keep a lock file for the service at ``address`` while the block runs.

    Without the right to write beside ``folder`` there is no lock file; the engine's own lock
    protects the folder anyway.
    """
    with file_beside(_path(folder), json.dumps(asdict(Holder(address, os.getpid()))), 0o666):
        yield


@contextmanager
def file_beside(path: Path, text: str, mode: int) -> Iterator[None]:
    """Keep a file with ``text`` while the block runs; none if it cannot be written. It appears
    whole, with no more rights than ``mode``."""
    with suppress(OSError):
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, mode), "w") as stream:
            stream.write(text)
        part.replace(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def read_lock_file(folder: Path) -> Holder | None:
    """The service that has ``folder`` open; None if there is no lock file or its process ended."""
    try:
        values = json.loads(_path(folder).read_text())
        holder = Holder(str(values["address"]), int(values["pid"]))
        return holder if is_running(holder.pid) else None
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None


def _path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.served")
