"""What people type as one operand: words, a file, an address or the number of a row.

An existing file is a picture or a vector. What looks like a path, an address or a row and is none
is refused: a search for such words would find something, too. ``text:`` in front makes words of
anything, ``image:`` a picture.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Literal
from urllib.parse import unquote, urlsplit

from cliphouse.errors import QueryError
from cliphouse.pictures.formats import SUFFIXES

Typed = (
    tuple[Literal["words", "picture_url"], str]
    | tuple[Literal["picture", "vector"], Path]
    | tuple[Literal["id"], int]
)

WORDS = "text:"
_VECTORS = (".npy", ".npz")
# Suffixes of files that nobody means as words: pictures that cannot be opened, too, and data.
_OF_FILES = SUFFIXES | {
    *(".jfif", ".pjpeg", ".apng", ".heic", ".heif", ".jxl", ".jp2", ".svg", ".ico", ".psd", ".eps"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".pdf", ".mp4", ".mov"),
    *(*_VECTORS, ".pt", ".pth", ".parquet", ".csv", ".json", ".jsonl", ".txt", ".tar", ".zip"),
}
_ROW = re.compile(r"id:\s*(-?\d{1,19})", re.IGNORECASE)
_LIKE_A_ROW = re.compile(r"id:\S*", re.IGNORECASE)
_WEB = re.compile(r"https?://\S+", re.IGNORECASE)
_FILE = re.compile(r"file:/\S*", re.IGNORECASE)
_LIKE_AN_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]+://\S*|(?:data|file|blob):\S+|www\.\S+", re.IGNORECASE
)
_PREFIX = re.compile(r"(text|image):(?=\S)(.*)", re.DOTALL)
_ALONE = re.compile(r"(?:text|image|\d+(?:\.\d+)?):")  # a prefix or a weight
_BEHIND_A_NAME = re.compile(r"(?<=\S)[?#]\S+$")  # as of a picture's address
_LIKE_A_PATH = re.compile(
    r"""\.\.?|~                     # this folder, the one above, the home folder
      |(?:\.\.?|~[\w.-]*)[/\\].*    # ./photo, ../a b, ~/photo
      |[a-z]:[/\\].*                # C:\photo
      |/[^/]+/.*|\\\\.*             # /my photos/a, \\host\photos
      |/\S*|\S*\\\S*|\S+/           # /photo, photos\a, photos/
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def read_typed(text: str) -> Typed:
    """What ``text`` stands for, as a field of Operand and its value.

    Raises QueryError if it is empty, a folder, or looks like a file, an address or a row and is
    none.
    """
    if match := _PREFIX.match(text.strip()):
        return ("words", match[2]) if match[1] == "text" else _read_picture(match[2])
    file = existing_file(text)
    if file is not None:
        return _of_file(file)
    bare = text.strip()
    if not bare:
        raise QueryError("the query is empty; give words, a picture, a .npy file or id:N")
    if match := _ROW.fullmatch(bare):
        return "id", int(match[1])
    if _WEB.fullmatch(bare):
        return "picture_url", bare
    if reason := _why_refused(bare):
        raise QueryError(
            f"{_short(bare)}: {reason}; to search for these words, write {WORDS} in front of them"
        )
    return "words", text


def named_file(text: str) -> Path:
    """The existing file that ``text`` names, by its path or as file:///PATH.

    Raises QueryError if there is none.
    """
    file = existing_file(text)
    if file is None:
        other = _not_a_file(text)
        reason = f"{other}, not a file" if other else "no such file"
        raise QueryError(f"{_short(text)}: {reason}")
    return file


def is_plain(words: str) -> bool:
    """Whether text is read as just these words, on any machine that has no file of that name."""
    return not (is_special(words) or _is_fragment(words.strip()))


def is_special(words: str) -> bool:
    """Whether text is, or looks like, a file, an address or a row, or says that it is words or a
    picture."""
    bare = words.strip()
    return bool(
        _PREFIX.match(bare) or _ROW.fullmatch(bare) or _WEB.fullmatch(bare) or _looks_like(bare)
    )


def existing_file(text: str) -> Path | None:
    """The file of this name, also as file:///PATH; None if there is none."""
    for path in _paths(text):
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # no file could have this name
            continue
    return None


def _read_picture(text: str) -> Typed:
    if _WEB.fullmatch(text):
        return "picture_url", text
    return "picture", named_file(text)


def _of_file(file: Path) -> Typed:
    return ("vector", file) if is_vector(file) else ("picture", file)


def is_vector(file: PurePath) -> bool:
    """Whether a file is taken for a vector, by its suffix."""
    return file.suffix.lower() in _VECTORS


def _why_refused(text: str) -> str | None:
    """Why ``text`` is not searched for as words; None if it is."""
    if other := _not_a_file(text):
        return f"{other}, and a query is words, a picture, a .npy file or id:N"
    return _looks_like(text) or _is_fragment(text)


def _looks_like(text: str) -> str | None:
    if _LIKE_A_ROW.fullmatch(text):
        return "a row is id:N with a whole number"
    if _FILE.fullmatch(text):
        return "no such file"
    if _LIKE_AN_ADDRESS.fullmatch(text):
        return "a picture's address begins with http:// or https://"
    suffixes = {PurePath(name).suffix.lower() for name in (text, _BEHIND_A_NAME.sub("", text))}
    if _LIKE_A_PATH.fullmatch(text) or suffixes & _OF_FILES:
        return "no such file"
    return None


def _is_fragment(text: str) -> str | None:
    """Why ``text`` is no query but the beginning of one, or an option's; None if it is neither."""
    if text == "-":
        return "standard input is read by --queries alone"
    if _ALONE.fullmatch(text):
        return "nothing to search for is behind it"
    return None


def _not_a_file(text: str) -> str | None:
    """What ``text`` names instead of a file; None if there is a file or nothing."""
    try:
        there = [path for path in _paths(text) if path.exists()]
    except (OSError, ValueError):
        return None
    if any(path.is_dir() for path in there):
        return "a folder"
    return "a device or a pipe" if there else None


def _paths(text: str) -> list[Path]:
    """What ``text`` may name: as it is, without blanks around it, and as a file's address."""
    bare = text.strip()
    paths = [_expand(one) for one in dict.fromkeys((text, bare)) if bare]
    if _FILE.fullmatch(bare):
        address = urlsplit(bare)
        if address.netloc.lower() in ("", "localhost"):
            paths.append(Path(unquote(address.path)))
    return paths


def _expand(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # there is no such user
        return Path(text)


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
