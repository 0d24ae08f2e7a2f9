"""What is in a folder: pictures, texts beside them, and all that is passed over."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from cliphouse.pictures.formats import RAW_SUFFIXES, SUFFIXES, VIDEO_SUFFIXES, split_suffix
from cliphouse.pictures.passed_over import Kind, PassedOver
from cliphouse.pictures.raw import can_read_raw
from cliphouse.pictures.video import can_read_videos

CAPTIONS_FILE = "captions.csv"
_SIDECAR = ".txt"
_READABLE = 0o444  # by everybody, as most files are: the system need not be asked


@dataclass(frozen=True)
class FoundFile:
    """A file that pictures may be made of: its path, which is text since a Path takes longer to
    make than a file to find; its size in bytes and its time of last change."""

    path: str
    bytes: int
    mtime_ns: int


@dataclass
class Contents:
    """The pictures of a folder in the order of their paths, its text files by ``sidecar_key``, and
    what was passed over."""

    pictures: list[FoundFile] = field(default_factory=list)
    sidecars: dict[str, Path] = field(default_factory=dict)
    passed: list[PassedOver] = field(default_factory=list)


def sidecar_key(path: str) -> str:
    """What a picture and its text file have in common: their path without the suffix, in NFC."""
    return unicodedata.normalize("NFC", split_suffix(path)[0])


def walk(folder: Path) -> Contents:
    """What is in ``folder``, a resolved path, and below.

    Links are followed, each folder and each file once: what can be reached without a link is found
    there, and of a loop nothing is found twice.
    """
    walker = _Walker(folder)
    walker.walk()
    return walker.contents


class _Walker:
    def __init__(self, folder: Path) -> None:
        self.contents = Contents()
        self._folder = folder
        self._captions = str(folder / CAPTIONS_FILE)
        self._links: list[Path] = []
        self._seen: set[tuple[int, int]] = set()  # by device and inode

    def walk(self) -> None:
        self._read(self._folder)
        while self._links:
            links, self._links = self._links, []
            for link in links:
                self._follow(link)

    def _read(self, top: Path, is_linked: bool = False) -> None:
        """Read a folder and those below; links are kept for later. What a link leads to may be
        found already."""
        folders = [top]
        while folders:
            folder = folders.pop()
            try:
                status = folder.stat()
                if is_linked and self._is_seen(folder, status):
                    continue
                with os.scandir(folder) as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
            except OSError as error:
                self._pass_over(folder, "unreadable", _reason(error))
                continue
            self._seen.add((status.st_dev, status.st_ino))
            below = [path for entry in entries if (path := self._take(entry, is_linked))]
            folders += reversed(below)

    def _take(self, entry: os.DirEntry[str], is_linked: bool) -> Path | None:
        """Take a file, or return a folder that is to be read."""
        if not _is_utf8(entry.name):
            self._pass_over(entry.path, "name", "the file's name is not valid UTF-8; rename it")
        elif entry.name.startswith("."):
            self._pass_over(entry.path, "hidden", "hidden")
        elif entry.is_symlink():
            self._links.append(Path(entry.path))
        elif entry.is_dir(follow_symlinks=False):
            return Path(entry.path)
        else:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:  # it has gone meanwhile, or the folder gives names alone
                self._pass_over(entry.path, "unreadable", _reason(error))
                return None
            if not (is_linked and self._is_seen(entry.path, status)):
                self._take_file(entry.path, status)
        return None

    def _follow(self, link: Path) -> None:
        try:
            status = link.stat()
        except OSError as error:
            is_loop = error.errno == errno.ELOOP
            reason = "a link to itself" if is_loop else "leads to nothing"
            self._pass_over(link, "broken link", reason)
            return
        if stat.S_ISDIR(status.st_mode):
            self._read(link, is_linked=True)
        elif not self._is_seen(link, status):
            self._take_file(str(link), status)

    def _is_seen(self, path: str | Path, status: os.stat_result) -> bool:
        is_seen = (status.st_dev, status.st_ino) in self._seen
        if is_seen:
            self._pass_over(path, "linked twice", "is found already without this link")
        return is_seen

    def _take_file(self, path: str, status: os.stat_result) -> None:
        suffix = split_suffix(path)[1]
        if not stat.S_ISREG(status.st_mode):
            self._pass_over(path, "unknown suffix", "not a file of data")
        elif path == self._captions:
            return
        elif suffix == _SIDECAR:
            own = Path(path)
            first = self.contents.sidecars.setdefault(sidecar_key(path), own)
            if first is not own:
                self._pass_over(path, "caption", f"the caption is in {first.name}")
        elif suffix not in SUFFIXES and (other := _of_another_kind(suffix)) is not None:
            self._pass_over(path, *other)
        elif status.st_mode & _READABLE != _READABLE and not os.access(path, os.R_OK):
            self._pass_over(path, "unreadable", "you may not read it")
        else:
            self._seen.add((status.st_dev, status.st_ino))
            found = FoundFile(path, status.st_size, status.st_mtime_ns)
            self.contents.pictures.append(found)

    def _pass_over(self, path: str | Path, kind: Kind, reason: str) -> None:
        self.contents.passed.append(PassedOver(Path(path), reason, kind))


def _of_another_kind(suffix: str) -> tuple[Kind, str] | None:
    """What a file is that no picture can be made of; None if one can be."""
    if suffix in RAW_SUFFIXES:
        how = "pip install 'cliphouse[raw]'"
        return None if can_read_raw() else ("raw", f"a RAW photograph; to read such: {how}")
    if suffix in VIDEO_SUFFIXES:
        how = "pip install 'cliphouse[video]'"
        return None if can_read_videos() else ("video", f"a video; to read its frames: {how}")
    return "unknown suffix", f"no suffix of a picture: {suffix or 'none'}"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
