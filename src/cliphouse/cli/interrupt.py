"""Ctrl-C: it ends a command within a second, with a line that says what is kept.

Python calls a signal's handler when its own code goes on. A statement in the embedded engine, or a
batch in a model, keeps it from that for seconds. But the signal wakes a thread at once, which ends
the statements, and then the process if that was not enough: every command can be killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # the exit code, which typer makes of a KeyboardInterrupt, too
GOES_ON = "what is finished is kept; run the same command again to continue"
_NOTHING = "nothing was changed"
_SECONDS = 0.8
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_kept = _NOTHING
_watches: list[_Watch] = []  # those of the blocks that run, the innermost last


def keep(what: str = _NOTHING) -> None:
    """From now on an interrupt leaves this: what is kept, and what to do."""
    global _kept
    _kept = what


def hand_over() -> None:
    """From now on the program has a way of its own to end at a signal."""
    for watch in _watches:
        watch.is_off = True


def interrupted() -> str:
    """The line about an interrupt."""
    return f"interrupted; {_kept}"


@contextmanager
def interruptible(ends_process: bool = True) -> Iterator[None]:
    """While the block runs, an interrupt raises KeyboardInterrupt and ends the statements that run.

    If the block has not ended after _SECONDS, the process ends with the line about it; without
    ``ends_process``, only a second interrupt does that. Only the main thread may call this.
    """
    watch = _Watch(ends_process)
    _watches.append(watch)
    try:
        yield
    except Exception as error:
        if watch.is_interrupted:  # a statement that was ended, perhaps of another thread
            raise KeyboardInterrupt from error
        raise
    finally:
        _watches.remove(watch)
        watch.close()


class _Watch:
    """Waits in a thread for the interrupt of a block."""

    def __init__(self, ends_process: bool) -> None:
        self.is_off = False
        self._ends_process = ends_process
        self._at: float | None = None  # of the first interrupt, by time.monotonic()
        self._is_raised = False
        self._ending: threading.Thread | None = None
        self._is_over = threading.Event()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handler_before = signal.getsignal(signal.SIGINT)
        if self._handler_before is signal.default_int_handler:  # else it is to be ignored
            signal.signal(signal.SIGINT, self._raise)
        self._thread = threading.Thread(target=self._watch, name="interrupt", daemon=True)
        self._thread.start()

    @property
    def is_interrupted(self) -> bool:
        return self._at is not None

    def close(self) -> None:
        """The block has ended. Wait until what it ran is being ended."""
        self._is_over.set()
        if self._handler_before is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.write(self._write, b"\0")
        self._thread.join()
        if self._ending is not None:
            self._ending.join(_SECONDS)
        os.close(self._read)
        os.close(self._write)

    def _raise(self, _: int, __: FrameType | None) -> None:
        """The handler. It raises once, so that nothing interrupts what is cleaned up then."""
        self._note_time()
        if not self._is_raised:
            self._is_raised = True
            raise KeyboardInterrupt

    def _note_time(self) -> None:
        """Statements that begin later are of the clean-up, and are not ended."""
        if self._at is None:
            self._at = time.monotonic()

    def _watch(self) -> None:
        while number := os.read(self._read, 1)[0]:
            if number in _SIGNALS and not self.is_off:
                self._note_time()
                self._react()

    def _react(self) -> None:
        if self._ending is not None:  # it is the second interrupt
            if not self._is_over.is_set():
                _leave()
            return
        self._ending = threading.Thread(target=self._end_statements, daemon=True)
        self._ending.start()
        if self._ends_process and not self._is_over.wait(_SECONDS):
            _leave()

    def _end_statements(self) -> None:
        from cliphouse.engine.running import end_statements

        assert self._at is not None
        end_statements(self._at)


def _leave() -> NoReturn:
    """End the process, whatever its other threads do."""
    if "multiprocessing" in sys.modules:
        from multiprocessing import active_children

        for child in active_children():
            child.terminate()
    if os.isatty(2):
        os.write(2, b"\r\x1b[2K\x1b[?25h")  # a bar's line is emptied, and the cursor shown again
    os.write(2, f"cliphouse: {interrupted()}\n".encode())
    os._exit(INTERRUPTED)
