"""Who has an embedded folder open, and the patience to wait for it."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cliphouse.engine.lockfile import read_lock_file
from cliphouse.errors import TableError

WAIT_SECONDS = 10.0
_SILENT_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_TURN_SECONDS = 0.5


class OccupiedError(TableError):
    """Another process has the folder open."""


@dataclass(frozen=True)
class Patience:
    """How many ``seconds`` to wait for a folder that another process has open. After the first of
    them ``tell`` is called, once, with who that is. Who is ``for_engine`` needs the engine itself,
    and a service that has it is no help."""

    seconds: float = WAIT_SECONDS
    tell: Callable[[str], None] | None = None
    for_engine: bool = False

    def attempts(self, folder: Path) -> Iterator[bool]:
        """Yields at intervals, until there is nobody to wait for, whether time is left to wait."""
        started, is_told = time.monotonic(), False
        while (waited := time.monotonic() - started) < self.seconds:
            yield True
            if waited >= _SILENT_SECONDS and not is_told and self.tell is not None:
                self.tell(describe_occupant(folder))
                is_told = True
            time.sleep(min(_LOOK_SECONDS, max(self.seconds - waited, 0)))
        yield False


PATIENCE = Patience()


def describe_occupant(folder: Path) -> str:
    """The process that has the folder open, as in ``cliphouse serve (pid 123)``."""
    service = read_lock_file(folder)
    if service is not None:
        return f"cliphouse serve (pid {service.pid})"
    pid = _holder(folder)
    return "another process" if pid is None else f"{_program(pid)} (pid {pid})"


def is_open_elsewhere(folder: Path) -> bool:
    """Whether a process holds the engine's lock on its folder; to be asked by one that does not.

    The engine itself gives the reason only on standard error.
    """
    with suppress(FileNotFoundError), (folder / "status").open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def turn(folder: Path) -> Iterator[bool]:
    """Let one process at a time look at the engine's lock and take it: a look holds it, too.

    Yields False if another process is about to open the folder. On a file system without locks
    everybody has a turn.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _take_turn(descriptor)
    finally:
        os.close(descriptor)


def _take_turn(descriptor: int) -> bool:
    deadline = time.monotonic() + _TURN_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS / 10)
        except OSError:  # a file system without locks
            return True
        else:
            return True


def _holder(folder: Path) -> int | None:
    """The process that the engine has noted in its status file."""
    with suppress(OSError):
        match = re.search(rb"^PID: (\d+)$", (folder / "status").read_bytes(), re.MULTILINE)
        return int(match[1]) if match else None
    return None


def _program(pid: int) -> str:
    """What a process runs: ``cliphouse`` and its command, or the program's name."""
    import psutil

    try:
        process = psutil.Process(pid)
        names = [Path(word).name for word in process.cmdline()]
        if "cliphouse" in names:
            return " ".join(names[names.index("cliphouse") :][:2])
        return str(process.name())
    except psutil.Error:
        return "a process"
