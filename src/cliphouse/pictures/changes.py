"""What has changed in a folder of pictures since its shards were written.

A picture is the one of a row if its path, size and time are the row's. So it is if the whole folder
has moved: its path in the folder, its size and its time are those of a row whose own file is gone.
If not, the bytes decide: a file that has the bytes of a row whose own file is gone or was changed
is that picture, renamed, moved or touched, and keeps the row. Only files of a row's size are read
for that.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from cliphouse.pictures.find import Picture
from cliphouse.pictures.known import Known, KnownRow
from cliphouse.pictures.read_file import hash_file, with_own_caption


@dataclass(frozen=True)
class RowChange:
    """A row, and the picture that it is now."""

    row: KnownRow
    picture: Picture

    @property
    def is_renamed(self) -> bool:
        return self.row.path != self.picture.name

    @property
    def is_described_anew(self) -> bool:
        return self.row.caption != self.picture.caption


@dataclass
class Changes:
    """``new`` pictures have no row yet. Rows of ``changed`` have another picture's bytes now; rows
    of ``described`` have the same bytes, but another path, caption or time. The files of ``gone``
    are not in the folder any more, and ``doubled`` are further rows of the same files.
    ``unchanged`` counts the rest, and ``rows`` all rows that the folder had before."""

    new: list[Picture] = field(default_factory=list)
    changed: list[RowChange] = field(default_factory=list)
    described: list[RowChange] = field(default_factory=list)
    gone: list[KnownRow] = field(default_factory=list)
    doubled: list[KnownRow] = field(default_factory=list)
    unchanged: int = 0
    rows: int = 0

    @property
    def renamed(self) -> list[RowChange]:
        return [change for change in self.described if change.is_renamed]

    @property
    def is_none(self) -> bool:
        return not (self.new or self.changed or self.described or self.gone or self.doubled)


def find_changes(
    folder: Path, pictures: Sequence[Picture], known: Known, moved_from: Path | None = None
) -> Changes:
    """Compare ``pictures``, which are in ``folder``, with the rows of the shards.

    Rows of other folders stay as they are, unless this one is such a folder that has moved: it was
    at ``moved_from``, or the other is gone and some of its pictures are here.
    """
    changes = Changes()
    inside = str(folder.resolve()).rstrip("/") + "/"
    free = dict(known.rows)  # rows that no picture has been given
    left = []
    for picture in pictures:
        row = known.rows.get(picture.name)
        if row is None or not row.is_file(picture):
            left.append(picture)
            continue
        del free[row.path]
        caption = (row.own_caption if picture.is_named else "") or picture.caption
        if (row.caption, row.url) == (caption, picture.url):
            changes.unchanged += 1
        else:
            changes.described.append(_same_bytes(row, picture))
    left = _match_moved_folder(changes, left, free, inside)
    left = _match_by_bytes(changes, left, free, inside)
    for picture in left:
        row = free.pop(picture.name, None)
        if row is None:
            changes.new.append(picture)
        else:
            changes.changed.append(RowChange(row, picture))
    own = (inside, *_former_places(changes, inside, moved_from))
    changes.gone = [row for row in free.values() if row.path.startswith(own)]
    changes.rows = sum(path.startswith(own) for path in known.rows)
    changes.doubled = known.doubled
    return changes


def _former_places(changes: Changes, inside: str, moved_from: Path | None) -> list[str]:
    """Where the folder has been before, with a slash at the end of each."""
    roots = {
        change.row.root for change in changes.described if not change.row.path.startswith(inside)
    }
    places = [root for root in roots if not Path(root).is_dir()]
    if moved_from is not None:
        places.append(str(moved_from.resolve()).rstrip("/") + "/")
    return places


def _match_moved_folder(
    changes: Changes, pictures: Sequence[Picture], free: dict[str, KnownRow], inside: str
) -> list[Picture]:
    """Give rows of another folder, whose files are gone, to pictures with the same path in this
    one, of the same size and time; returns the pictures without a row."""
    outside: dict[tuple[int, int], list[KnownRow]] = {}
    for row in free.values():
        if row.hash and not row.path.startswith(inside):
            outside.setdefault((row.bytes, row.mtime_ns), []).append(row)
    left = []
    for picture in pictures:
        end = "/" + picture.name.removeprefix(inside)
        rows = outside.get((picture.bytes, picture.mtime_ns), ())
        found = [
            row
            for row in rows
            if row.path in free and row.path.endswith(end) and not os.path.lexists(row.path)
        ]
        if picture.name in free or len(found) != 1:
            left.append(picture)
            continue
        del free[found[0].path]
        changes.described.append(_same_bytes(found[0], picture))
    return left


def _match_by_bytes(
    changes: Changes, pictures: Sequence[Picture], free: dict[str, KnownRow], inside: str
) -> list[Picture]:
    """Give rows to pictures that have their bytes; returns the pictures without a row."""
    by_hash: dict[str, list[KnownRow]] = {}
    for row in free.values():
        if row.hash:
            by_hash.setdefault(row.hash, []).append(row)
    hashed = _with_hashes(pictures, {row.bytes for rows in by_hash.values() for row in rows})
    others = []
    for picture in hashed:
        own = free.get(picture.name)
        if own is not None and own.hash and own.hash == picture.hash:  # it was touched
            changes.described.append(_same_bytes(free.pop(own.path), picture))
        else:
            others.append(picture)
    left = []
    for picture in others:
        rows = by_hash.get(picture.hash, ())
        found = next((row for row in rows if row.path in free and _may_move(row, inside)), None)
        if found is None:
            left.append(picture)
        else:
            changes.described.append(_same_bytes(free.pop(found.path), picture))
    return left


def _same_bytes(row: KnownRow, picture: Picture) -> RowChange:
    """The row with its picture, whose file has the bytes that were embedded."""
    picture = replace(picture, hash=row.hash)
    return RowChange(row, with_own_caption(picture, row.own_caption))


def _may_move(row: KnownRow, inside: str) -> bool:
    """Whether a row may be another file's: of another folder only if its own file is gone."""
    return row.path.startswith(inside) or not os.path.lexists(row.path)


def _with_hashes(pictures: Sequence[Picture], sizes: Collection[int]) -> list[Picture]:
    """The pictures, those of one of these ``sizes`` with their hash if they can be read."""
    wanted = [place for place, picture in enumerate(pictures) if picture.bytes in sizes]
    found = list(pictures)
    with ThreadPoolExecutor() as pool:
        hashed = pool.map(hash_file, [pictures[place] for place in wanted])
        for place, picture in zip(wanted, hashed, strict=True):
            found[place] = picture
    return found
