"""What the terminal can show, found out by asking it."""

from __future__ import annotations

import os
import re
import select
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from cliphouse.errors import QueryError

VARIABLE = "CLIPHOUSE_TERMINAL"
_SECONDS = 1.0  # to the last answer; a terminal behind a slow line needs some
# Each question is one that terminals which do not know it pass over. The last one every terminal
# answers: the answers before it are all there are.
_KITTY_QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
_CELL_QUESTION = b"\x1b[16t"
_NAME_QUESTION = b"\x1b[>q"
_LAST_QUESTION = b"\x1b[c"
_KITTY_ANSWER = re.compile(rb"\x1b_Gi=31;OK\x1b\\")
_CELL_ANSWER = re.compile(rb"\x1b\[6;(\d+);(\d+)t")
_NAME_ANSWER = re.compile(rb"\x1bP>\|([^\x1b]*)\x1b\\")
_LAST_ANSWER = re.compile(rb"\x1b\[\?([\d;]*)c")
_SIXEL = b"4"
# Terminals with the pictures of iTerm2, by the names that they give themselves.
_ITERM2 = re.compile(r"iterm|wezterm|mintty", re.IGNORECASE)
# What shows questions as text, or has no way to show a picture.
_SILENT = ("dumb", "linux", "unknown", "")
_SHOWS_QUESTIONS = "Apple_Terminal"


class Protocol(str, Enum):
    """A way of sending a picture to a terminal."""

    KITTY = "kitty"
    ITERM2 = "iterm2"
    SIXEL = "sixel"
    BLOCKS = "blocks"


@dataclass(frozen=True)
class CellSize:
    """The size of one character in pixels."""

    width: int = 10
    height: int = 20


@dataclass(frozen=True)
class Screen:
    """How a terminal takes pictures, and the size of its characters."""

    protocol: Protocol
    cell: CellSize


def find_screen(environment: Mapping[str, str] = os.environ) -> Screen | None:
    """The screen that standard output goes to; None if it is no terminal.

    The variable CLIPHOUSE_TERMINAL names a protocol in place of the terminal's answers; then
    standard output may be a pipe, too. Raises QueryError if there is no protocol of that name.
    """
    chosen = environment.get(VARIABLE, "").lower()
    if chosen:
        names = [protocol.value for protocol in Protocol]
        if chosen not in names:
            raise QueryError(f"{VARIABLE} is {chosen}; it must be one of {', '.join(names)}")
        return Screen(Protocol(chosen), _cell_by_system(1) or CellSize())
    if not sys.stdout.isatty():
        return None
    terminal = _open_terminal()
    if terminal is None:
        return Screen(Protocol.BLOCKS, CellSize())
    try:
        return ask(terminal, environment)
    finally:
        os.close(terminal)


def ask(terminal: int, environment: Mapping[str, str]) -> Screen:
    """The screen of the terminal with this file descriptor, by its answers within a second."""
    kind = environment.get("TERM", "")
    if kind in _SILENT or environment.get("TERM_PROGRAM") == _SHOWS_QUESTIONS:
        return Screen(Protocol.BLOCKS, CellSize())
    # tmux and screen take kitty's question for a window's title, and pass no picture of iTerm2 on.
    is_within = bool({"TMUX", "STY"} & environment.keys()) or kind.startswith(("tmux", "screen"))
    kitty = b"" if is_within else _KITTY_QUESTION
    answer = _exchange(terminal, kitty + _CELL_QUESTION + _NAME_QUESTION + _LAST_QUESTION)
    cell = _cell_by_answer(answer) or _cell_by_system(terminal) or CellSize()
    return Screen(_protocol(answer, environment, is_within), cell)


def _protocol(answer: bytes, environment: Mapping[str, str], is_within: bool) -> Protocol:
    if _KITTY_ANSWER.search(answer):
        return Protocol.KITTY
    named = _NAME_ANSWER.search(answer)
    names = (
        named[1].decode("ascii", "replace") if named else "",
        environment.get("TERM_PROGRAM", ""),
        environment.get("LC_TERMINAL", ""),  # which ssh passes on
    )
    if not is_within and any(map(_ITERM2.search, names)):
        return Protocol.ITERM2
    last = _LAST_ANSWER.search(answer)
    is_sixel = last is not None and _SIXEL in last[1].split(b";")
    return Protocol.SIXEL if is_sixel else Protocol.BLOCKS


def _open_terminal() -> int | None:
    """The terminal of this process, which may not be its standard input; None if it may not be
    asked, as in the background."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    with suppress(OSError):
        if os.tcgetpgrp(terminal) == os.getpgrp():
            return terminal
    os.close(terminal)
    return None


def _exchange(terminal: int, question: bytes) -> bytes:
    """What the terminal answers, without showing it. What comes too late is thrown away."""
    import termios
    import tty

    answer = b""
    try:
        before = termios.tcgetattr(terminal)
    except termios.error:
        return b""
    when = termios.TCSAFLUSH
    try:
        tty.setcbreak(terminal, termios.TCSANOW)
        os.write(terminal, question)
        end = time.monotonic() + _SECONDS
        while _has_input(terminal, max(0.0, end - time.monotonic())):
            piece = os.read(terminal, 1024)
            answer += piece
            if _LAST_ANSWER.search(answer):
                when = termios.TCSADRAIN  # what was typed ahead stays for who reads next
                break
            if not piece:
                break
    except OSError:  # the terminal has gone
        pass
    finally:
        with suppress(termios.error):
            termios.tcsetattr(terminal, when, before)
    return answer


def _has_input(terminal: int, seconds: float) -> bool:
    """Whether there is something to read within the time. On macOS terminals cannot be polled; and
    select takes no descriptor above 1,023, which a process with a database may have."""
    if sys.platform == "darwin":
        return bool(select.select([terminal], [], [], seconds)[0])
    waiting = select.poll()
    waiting.register(terminal, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _cell_by_answer(answer: bytes) -> CellSize | None:
    found = _CELL_ANSWER.search(answer)
    return _cell(int(found[2]), int(found[1])) if found else None


def _cell_by_system(terminal: int) -> CellSize | None:
    """The size of a character by the size of the window in pixels, if the system knows it."""
    import fcntl
    import termios

    try:
        told = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns, width, height = struct.unpack("HHHH", told)
    return _cell(width // columns, height // rows) if rows and columns else None


def _cell(width: int, height: int) -> CellSize | None:
    return CellSize(width, height) if 1 <= width <= 200 and 1 <= height <= 200 else None
