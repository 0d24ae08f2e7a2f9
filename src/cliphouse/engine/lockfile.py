"""A note beside an embedded folder that says who has it open: a service, and its address."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Occupant:
    """A service that has the folder: its address and its process."""

    address: str
    pid: int


@contextmanager
def occupy(folder: Path, address: str) -> Iterator[None]:
    """Leave the note, and take it away at the end. A place that cannot be written goes without."""
    note = _note(folder)
    with suppress(OSError):
        part = note.with_name(f"{note.name}.{os.getpid()}")
        part.write_text(json.dumps(asdict(Occupant(address, os.getpid()))))
        part.replace(note)
    try:
        yield
    finally:
        with suppress(OSError):
            note.unlink()


def occupant(folder: Path) -> Occupant | None:
    """Who has it open; None where no note says so, or its process is no more."""
    try:
        told = json.loads(_note(folder).read_text())
        found = Occupant(str(told["address"]), int(told["pid"]))
        os.kill(found.pid, 0)
    except PermissionError:
        return found  # somebody else's process, but one there is
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None
    return found


def _note(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.served")
