"""A terminal for tests: a real pseudo-terminal that answers questions, and decoders of pictures,
which share nothing with the code that encodes them."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

LAST_QUESTION = b"\x1b[c"
CELL_10_20 = b"\x1b[6;20;10t"
VT220 = b"\x1b[?62;22c"
VT340 = b"\x1b[?62;4;22c"
KITTY_OK = b"\x1b_Gi=31;OK\x1b\\"
# Makes standard input the terminal of the process, as a shell does it, and becomes the command.
_LOGIN = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A pseudo-terminal of ``columns`` x ``rows`` characters that answers the last question that a
    program asks with ``answers``, and keeps all that is printed."""

    def __init__(self, answers: bytes, columns: int = 80, rows: int = 24) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._answers = answers
        self.printed = b""
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:  # nobody has the other side open any more
                return
            with self._came:
                is_asked = LAST_QUESTION not in self.printed
                self.printed += piece
                self._came.notify_all()
                is_asked = is_asked and LAST_QUESTION in self.printed
            if is_asked and self._answers:
                os.write(self._ours, self._answers)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, pattern: str) -> None:
        """Wait until something that was printed matches."""
        with self._came:
            is_there = self._came.wait_for(lambda: re.search(pattern, self.text), 60)
        assert is_there, self.text

    @property
    def text(self) -> str:
        return self.printed.decode("utf-8", "replace")

    def start(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a command whose terminal this is. It has to be waited for, then ``close``."""
        login = [sys.executable, "-ISc", _LOGIN, *command]
        streams = {"stdin": self.theirs, "stdout": self.theirs, "stderr": self.theirs}
        whole = {**os.environ, "COLUMNS": "", "LINES": "", **environment}
        whole = {name: value for name, value in whole.items() if value}
        return subprocess.Popen(login, cwd=folder, env=whole, start_new_session=True, **streams)

    def close(self) -> None:
        """No program has it open any more: all that was printed is there then."""
        os.close(self.theirs)
        self._reader.join(30)
        os.close(self._ours)


def kitty_pictures(printed: str) -> list[Image.Image]:
    """The pictures of kitty's graphics commands, each of pieces of at most 4,096 bytes."""
    found, data = [], ""
    for keys, piece in re.findall(r"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", printed):
        named = dict(key.split("=", 1) for key in keys.split(","))
        if named.get("a") == "q":
            continue
        assert len(piece) <= 4096
        data += piece
        if named["m"] == "0":
            found.append(_png(data))
            data = ""
    assert data == ""
    return found


def iterm2_pictures(printed: str) -> list[Image.Image]:
    files = re.findall(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", printed)
    for keys, data in files:
        named = dict(key.split("=", 1) for key in keys.split(";"))
        assert named["inline"] == "1"
        assert int(named["size"]) == len(base64.b64decode(data))
    return [_png(data) for _, data in files]


def sixel_pictures(printed: str) -> list[Image.Image]:
    return [_sixel(body) for body in re.findall(r"\x1bP[\d;]*q([^\x1b]*)\x1b\\", printed)]


def _png(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGBA")


def _sixel(body: str) -> Image.Image:
    """A sixel image by the rules of DEC's VT330/VT340 manual."""
    size = re.match(r'"\d+;\d+;(\d+);(\d+)', body)
    assert size
    image = Image.new("RGBA", (int(size[1]), int(size[2])))
    colours: dict[int, tuple[int, int, int, int]] = {}
    colour, x, y = 0, 0, 0
    tokens = r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])"
    position = size.end()
    while position < len(body):
        token = re.compile(tokens).match(body, position)
        assert token, body[position : position + 20]
        position = token.end()
        number, red, green, blue, count, repeated, single, move = token.groups()
        if number is not None:
            colour = int(number)
            if red is not None:
                colours[colour] = (*(round(int(p) * 2.55) for p in (red, green, blue)), 255)
        elif move is not None:
            x, y = 0, y + 6 * (move == "-")
        else:
            bits = ord(repeated or single) - 63
            until = x + int(count or 1)
            for bit in range(6):
                if bits >> bit & 1:
                    image.paste(colours[colour], (x, y + bit, until, y + bit + 1))
            x = until
    return image
