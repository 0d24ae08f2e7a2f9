"""Finding the pictures of a folder, with their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cliphouse.errors import PictureError
from cliphouse.pictures.captions import caption_of_name, read_captions, read_sidecar
from cliphouse.pictures.formats import VIDEO_SUFFIXES, split_suffix
from cliphouse.pictures.passed_over import PassedOver
from cliphouse.pictures.video import (
    EVERY_SECONDS,
    frame_name,
    frame_times,
    read_length,
)
from cliphouse.pictures.walk import CAPTIONS_FILE, Contents, FoundFile, sidecar_key, walk
from cliphouse.shards.roots import SCHEME, Root

RootOf = Callable[[Sequence[FoundFile]], Root | None]


@dataclass(frozen=True)
class Picture:
    """A picture's ``file`` and its caption, which may be empty. ``bytes`` and ``mtime_ns`` show
    whether it has changed; ``hash`` is XXH3-128 of its bytes, empty until somebody has read them.
    ``folder`` is where it is within its root, or within the folder that was searched, empty at its
    top; ``root`` is the root's name, empty if it is in none. If ``is_named``, the caption is the
    file's name, and what the photograph says of itself is better. A picture that is a ``frame`` of
    a video has its time in seconds, and those that the whole video takes.
    """

    file: str
    caption: str
    bytes: int
    mtime_ns: int
    hash: str = ""
    folder: str = ""
    is_named: bool = False
    root: str = ""
    frame: float | None = None
    video_seconds: float | None = None

    @property
    def path(self) -> Path:
        return Path(self.file)

    @property
    def name(self) -> str:
        """Its path, with the time of a frame."""
        return self.file if self.frame is None else frame_name(self.file, self.frame)

    @property
    def url(self) -> str:
        """What its row calls it: the path in its root, or its own."""
        if not self.root:
            return self.name
        folder = f"{self.folder}/" if self.folder else ""
        url = f"{SCHEME}{self.root}/{folder}{self.file.rpartition('/')[2]}"
        return url if self.frame is None else frame_name(url, self.frame)


@dataclass(frozen=True)
class Found:
    """The pictures of a folder, and what was passed over."""

    pictures: list[Picture]
    passed: list[PassedOver]


class Videos:
    """How frames are taken of videos, and how long each video is."""

    every: float = EVERY_SECONDS

    def length(self, picture: Picture) -> float:
        """The seconds that the video of ``picture`` takes. Raises PictureError if it is none."""
        return read_length(picture.path)

    def times(self, picture: Picture, length: float) -> list[float]:
        """The times of the frames that are taken of a video of this length: one in ``every``
        seconds. Raises PictureError if it is none."""
        return frame_times(length, self.every)


def find_pictures(
    folder: Path, root_of: RootOf | None = None, videos: Videos | None = None
) -> Found:
    """Find the pictures in ``folder`` and its subfolders, in the order of their paths. Links are
    followed; hidden files are left out. ``root_of`` says in which root the files that were found
    are, with ``folder`` at its top or below. Of a video, the frames that ``videos`` says are found.

    A caption is the text of the sidecar ``NAME.txt``, else the picture's line in a ``captions.csv``
    of ``folder`` (columns file and caption), else the file's name in words, if it says something;
    before the name comes what the photograph itself says, which is read later. All are normalised
    to NFC.

    Raises PictureError if the folder is missing or cannot be read, or captions.csv cannot.
    """
    if not folder.is_dir():
        raise PictureError(f"{folder}: no such folder")
    folder = folder.resolve()
    contents = walk(folder)
    if contents.passed and contents.passed[0].path == folder:
        raise PictureError(f"{folder}: cannot be read: {contents.passed[0].reason}")
    root = root_of(contents.pictures) if root_of else None
    top, name = (Path(root.place), root.name) if root else (folder, "")
    videos = videos or Videos()
    passed = contents.passed
    listed: dict[Path, str] = {}
    if (folder / CAPTIONS_FILE).is_file():
        paths = [Path(found.path) for found in contents.pictures]
        read = read_captions(folder / CAPTIONS_FILE, paths)
        listed, passed = read.captions, passed + read.passed
    pictures: list[Picture] = []
    places: dict[str, str] = {}
    for found in contents.pictures:
        path = found.path
        caption = _sidecar(contents, path, passed)
        if caption is None and listed:
            caption = listed.get(Path(path))
        parent, _, file_name = path.rpartition("/")
        stem, suffix = split_suffix(file_name)
        given = caption_of_name(stem) if caption is None else caption
        if parent not in places:
            place = Path(parent).relative_to(top).as_posix()
            places[parent] = "" if place == "." else place
        place, is_named = places[parent], caption is None
        file = (path, given, found.bytes, found.mtime_ns)
        picture = Picture(*file, "", place, is_named, name)
        if suffix in VIDEO_SUFFIXES:
            pictures += _frames(picture, videos, passed)
        else:
            pictures.append(picture)
    return Found(pictures, passed + _unused(contents))


def _frames(picture: Picture, videos: Videos, passed: list[PassedOver]) -> Iterator[Picture]:
    """The frames of a video that become rows."""
    try:
        length = videos.length(picture)
        times = videos.times(picture, length)
    except PictureError as error:
        reason = str(error).removeprefix(f"{picture.path}: ")
        passed.append(PassedOver(picture.path, reason, "damaged"))
        return
    for seconds in times:
        yield replace(picture, frame=seconds, video_seconds=length)


def _sidecar(contents: Contents, picture: str, passed: list[PassedOver]) -> str | None:
    sidecar = contents.sidecars.get(sidecar_key(picture)) if contents.sidecars else None
    if sidecar is None:
        return None
    try:
        return read_sidecar(sidecar)
    except PictureError as error:
        passed.append(PassedOver(sidecar, str(error).removeprefix(f"{sidecar}: "), "caption"))
        return None


def _unused(contents: Contents) -> list[PassedOver]:
    """The text files that belong to no picture."""
    if not contents.sidecars:
        return []
    pictures = {sidecar_key(found.path) for found in contents.pictures}
    return [
        PassedOver(path, "a text without a picture of this name", "caption")
        for key, path in contents.sidecars.items()
        if key not in pictures
    ]
