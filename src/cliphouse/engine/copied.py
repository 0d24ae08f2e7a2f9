"""Database folders that were copied without their links, or in part.

The engine keeps everything in ``store/``, and finds it by links: from ``metadata/NAME`` to the
folder with the definitions of a database's tables, and from ``data/NAME/TABLE`` to a table's rows.
A copy that follows links (cp -rL, a zip, a cloud drive), or drops them, has all of the data, but
the engine finds no table in it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DEFAULT = "default"
_UUID = re.compile(r"UUID\s+'([0-9a-f-]{36})'")


@dataclass(frozen=True)
class LostLink:
    """A link that a copy lacks: its place, and the folder in store/ that it pointed to."""

    link: Path
    target: Path


def find_lost_links(folder: Path) -> tuple[LostLink, ...]:
    """The links from databases to the definitions of their tables that the folder lacks; none if it
    is as the engine made it."""
    metadata = folder / "metadata"
    named = {path.stem: _named_definitions(folder, path) for path in metadata.glob("*.sql")}
    broken = [name for name in (_DEFAULT, *named) if not (metadata / name).is_symlink()]
    if not broken or not (folder / "store").is_dir():
        return ()
    # The default database has no definition of its own that would name its folder.
    found = {_DEFAULT: _default_definitions(folder, set(named.values()))} | named
    links = [(metadata / name, found[name]) for name in broken]
    return tuple(LostLink(link, target) for link, target in links if target is not None)


def find_lost_store(folder: Path) -> Path | None:
    """The folder with the definitions of a database's tables, if it has tables but a copy has left
    that folder out; otherwise None."""
    default, store = folder / "metadata" / _DEFAULT, folder / "store"
    if not any((folder / "data").glob("*/*")):
        return None
    if not store.is_dir():
        return store
    if default.is_symlink() and not default.exists():
        return store.joinpath(*default.readlink().parts[-2:])
    return None


def link_again(folder: Path) -> tuple[LostLink, ...]:
    """Make the links that a copied folder lacks, and return those to definitions. Where the copy
    has a table's rows a second time in place of a link, these go, if they are the same files."""
    lost = find_lost_links(folder)
    for one in lost:
        data = folder / "data" / one.link.name
        for table, rows in _tables(folder, one.target):
            _replace(data / table, rows)
        if _names(one.link) <= _names(one.target):
            _remove(one.link)
        else:  # it has tables that the store does not
            one.link.rename(folder / f"metadata_of_copied_{one.link.name}")
        _link(one.link, one.target)
    return lost


def _named_definitions(folder: Path, definition: Path) -> Path | None:
    """The folder in store/ with the definitions of a database's tables."""
    match = _UUID.search(definition.read_text("utf-8", errors="replace"))
    target = _in_store(folder, match[1]) if match else None
    return target if target is not None and target.is_dir() else None


def _default_definitions(folder: Path, others: set[Path | None]) -> Path | None:
    copied = folder / "metadata" / _DEFAULT
    wanted = _names(copied)
    holds = [path for path in (folder / "store").glob("*/*") if _names(path)]
    # An engine that has opened the copy has made a folder of its own for this database, with fewer
    # tables or none.
    chosen = [path for path in holds if path not in others]
    return max(
        chosen, key=lambda path: (len(wanted & _names(path)), len(_names(path))), default=None
    )


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.sql")}


def _tables(folder: Path, definitions: Path) -> Iterator[tuple[str, Path]]:
    """The tables that are defined in a folder, with the folders of their rows."""
    for path in definitions.glob("*.sql"):
        match = _UUID.search(path.read_text("utf-8", errors="replace"))
        if match and (rows := _in_store(folder, match[1])).is_dir():
            yield path.stem, rows


def _in_store(folder: Path, uuid: str) -> Path:
    return folder / "store" / uuid[:3] / uuid


def _replace(copy: Path, rows: Path) -> None:
    """Replace a second copy of a table's rows by a link; one with other files stays."""
    if copy.is_dir() and not copy.is_symlink() and _sizes(copy) != _sizes(rows):
        return
    _remove(copy)
    _link(copy, rows)


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    up = Path(*[".."] * (len(link.parent.relative_to(target.parents[2]).parts)))
    link.symlink_to(up / target.relative_to(target.parents[2]))
