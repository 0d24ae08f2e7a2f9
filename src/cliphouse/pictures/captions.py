"""The captions of pictures: text files beside them, captions.csv, and names of files."""

from __future__ import annotations

import csv
import io
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cliphouse.errors import PictureError
from cliphouse.pictures.decode import decode
from cliphouse.pictures.passed_over import PassedOver

_FILE_NAMES = ("file", "filename", "file_name")
_CAPTION_NAMES = ("caption", "text")
_ABSOLUTE = re.compile(r"([A-Za-z]:)?/")
# Names that cameras, telephones and programs give, which say nothing about the picture: one of
# these words, digits, and what is between them; or a number in hexadecimal.
_MEANINGLESS = re.compile(
    r"""
    (?=.*\d)
    ( (_?img|image|_?mg|pict?|picture|photo|_?dsc[nf]?|p|pxl|mvimg|vid|gopr|gp|dji|sam|cimg|scan
       |fb[ _]img|screenshot|signal|whatsapp[ ]image|received|snapchat|unnamed|untitled|download)?
      (\d|[\s_\-().,:~]|at|copy|wa|edited|hdr|burst|cover|mp|am|pm|pano|night|portrait)*
    | [0-9a-f]{8,}
    | [0-9a-f]{8} (-[0-9a-f]{4}){3} -[0-9a-f]{12}
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)


def read_sidecar(path: Path) -> str:
    """The caption in a text file, in NFC and without blanks around it.

    Raises PictureError if it cannot be read, or its encoding cannot be told.
    """
    try:
        return _clean(decode(path.read_bytes()))
    except OSError as error:
        raise PictureError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise PictureError(f"{path}: {error}") from error


def caption_of_name(stem: str) -> str:
    """The words of a file's name; empty if it is one that a camera gives, as in IMG_1018."""
    if _MEANINGLESS.fullmatch(stem):
        return ""
    return _clean(re.sub(r"[\s_\-]+", " ", stem))


@dataclass
class Listed:
    """The captions of a captions.csv, by picture, and its lines that are not used."""

    captions: dict[Path, str] = field(default_factory=dict)
    passed: list[PassedOver] = field(default_factory=list)


def read_captions(path: Path, pictures: Sequence[Path]) -> Listed:
    """Read the captions in ``path``, a CSV file with the columns file and caption, for
    ``pictures``, which are in its folder or below.

    A file is found by its path in that folder, with slashes or backslashes; by an absolute path, of
    this machine or another; and else without regard to case and to how accents are written. Lines
    that match no picture, have too many fields or repeat another are passed over.

    Raises PictureError if the file cannot be read or has no such columns.
    """
    try:
        text = decode(path.read_bytes())
        return _read_lines(path, text, _Matcher(path.parent, pictures))
    except (csv.Error, UnicodeError) as error:
        raise PictureError(f"{path}: not readable as CSV: {error}") from error
    except OSError as error:
        raise PictureError(f"{path}: cannot be read: {error.strerror}") from error


def _read_lines(path: Path, text: str, matcher: _Matcher) -> Listed:
    reader = csv.reader(io.StringIO(text, newline=""))
    head = next(reader, [])
    places = {name.strip().lower(): place for place, name in enumerate(head)}
    file = next((places[name] for name in _FILE_NAMES if name in places), None)
    caption = next((places[name] for name in _CAPTION_NAMES if name in places), None)
    if file is None or caption is None:
        raise PictureError(
            f"{path}: the first line must name the columns file and caption, "
            f"not {', '.join(head or ['nothing'])}"
        )
    listed = Listed()
    lines: dict[Path, int] = {}
    before = reader.line_num
    for row in reader:
        line, before = before + 1, reader.line_num
        if not row:
            continue
        written = row[file].strip() if file < len(row) else ""
        found = matcher.find(written)
        if len(row) > len(head):
            fault = "more fields than the first line; put quotes around a caption with commas"
        elif not isinstance(found, Path):
            fault = found
        elif found in lines:
            fault = f"a second caption of {written}, after line {lines[found]}"
        else:
            lines[found] = line
            listed.captions[found] = _clean(row[caption] if caption < len(row) else "")
            continue
        listed.passed.append(PassedOver(path, f"line {line}: {fault}", "caption"))
    return listed


class _Matcher:
    """Finds the pictures of a folder by their paths as people write them."""

    def __init__(self, folder: Path, pictures: Sequence[Path]) -> None:
        self._folder = folder
        self._exact: dict[str, Path] = {}
        self._loose: dict[str, list[Path]] = {}
        for path in pictures:
            relative = path.relative_to(folder).as_posix()
            self._exact[relative] = path
            self._loose.setdefault(_loose(relative), []).append(path)

    def find(self, written: str) -> Path | str:
        """The picture, or why there is none."""
        if not written:
            return "no file is named"
        if written in self._exact:
            return self._exact[written]
        for relative in _relative(written.replace("\\", "/")):
            if relative in self._exact:
                return self._exact[relative]
            found = self._loose.get(_loose(relative), [])
            if len(found) == 1:
                return found[0]
            if found:
                return f"{written} may be {found[0].name} or {found[1].name}"
        return f"there is no picture {written}"


def _relative(written: str) -> Iterator[str]:
    """The paths within the folder that may be meant: of an absolute path each of its ends, the
    longest first."""
    relative = posixpath.normpath(written)
    if not _ABSOLUTE.match(written):
        yield relative
        return
    parts = relative.split("/")[1:]
    for start in range(len(parts)):
        yield "/".join(parts[start:])


def _loose(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
