"""A lock file beside an embedded folder that says which service has the folder open."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path


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
    path = _path(folder)
    with suppress(OSError):
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_text(json.dumps(asdict(Holder(address, os.getpid()))))
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
        os.kill(holder.pid, 0)
    except PermissionError:
        return holder  # the process runs under another user
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None
    return holder


def _path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.served")
