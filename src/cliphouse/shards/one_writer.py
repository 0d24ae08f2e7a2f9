"""One writer at a time to a folder or a file: a lock file says who writes there."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cliphouse.errors import UserError
from cliphouse.shards.partial_file import disk_errors

_LOCK = ".cliphouse.lock"
_LOOK_SECONDS = 0.2

OnHeld = Callable[[str], None]


@contextmanager
def one_writer(
    target: Path,
    what: str,
    is_file: bool = False,
    wait: float | None = None,
    on_wait: OnHeld | None = None,
) -> Iterator[None]:
    """While the block runs, no other run of cliphouse writes to ``target``, a folder, or a file if
    ``is_file``.

    ``what`` says to others what is going on, as in "embed". The folder is made if there is none;
    one that was made, and is empty at the end, is removed. If another run writes there, this waits
    up to ``wait`` seconds, and calls ``on_wait`` once with who it is; None is for callers without
    such a choice, who do not wait. On a file system without locks nothing is locked. A run that was
    killed holds nothing.

    Raises UserError if another run writes there all the time, or if the folder cannot be made or
    written.
    """
    given, target = target, target.resolve()
    lock = target.with_name(f".{target.name}.lock") if is_file else target / _LOCK
    made: list[Path] = []
    try:
        descriptor = _acquire(lock, made, given, fcntl.LOCK_EX, wait, on_wait)
        with _released(lock, descriptor):
            _sign(descriptor, what, given)
            yield
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # it is not empty
                folder.rmdir()


@contextmanager
def no_writer(folder: Path, what: str) -> Iterator[None]:
    """While the block runs, nobody writes to ``folder`` by `one_writer`; several may read at once.

    A folder that may not be written is not locked. Raises UserError if another run writes there.
    """
    given, folder = folder, folder.resolve()
    if not os.access(folder, os.W_OK):
        yield
        return
    lock = folder / _LOCK
    descriptor = _acquire(lock, [], given, fcntl.LOCK_SH, None, None)
    with _released(lock, descriptor):
        _sign(descriptor, what, given)
        yield


def _sign(descriptor: int, what: str, target: Path) -> None:
    since = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    holder = f"{what} on {socket.gethostname()}, process {os.getpid()}, since {since}"
    with disk_errors(target):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)


def _acquire(
    lock: Path,
    made: list[Path],
    target: Path,
    operation: int,
    wait: float | None,
    on_wait: OnHeld | None,
) -> int:
    has_told, end = False, time.monotonic() + (wait or 0)
    while True:
        with disk_errors(target):  # the lock's own name means nothing to a user
            _make_folders(lock.parent, made)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 500, 0).decode(errors="replace") or "another run"
            os.close(descriptor)
            if time.monotonic() >= end:
                choice = "" if wait is None else ", or wait longer for it with --wait SECONDS"
                raise UserError(
                    f"{target.resolve()}: {holder}, is at work there; try again when it has "
                    f"ended{choice}"
                ) from None
            if on_wait is not None and not has_told:
                on_wait(holder)
                has_told = True
            time.sleep(min(_LOOK_SECONDS, max(end - time.monotonic(), 0)))
            continue
        except OSError:  # a file system without locks
            return descriptor
        # The process that held the lock before may have removed the opened file.
        if lock.exists() and os.path.samestat(os.fstat(descriptor), lock.stat()):
            return descriptor
        os.close(descriptor)


@contextmanager
def _released(lock: Path, descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(OSError):  # another reader still needs it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.unlink(missing_ok=True)
        os.close(descriptor)


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it, and note which were made."""
    if folder.is_dir():
        return
    _make_folders(folder.parent, made)
    folder.mkdir(exist_ok=True)
    if folder not in made:
        made.append(folder)
