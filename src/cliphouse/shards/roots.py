"""Roots: the folders that pictures are in. A row keeps its path within a root, ``root:NAME/path``.

Where a root is on this machine is kept once, with the shards and with the table. So a folder that
has moved is told in one place, and none of its rows changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cliphouse.errors import UserError

SCHEME = "root:"
_LONGEST = 100
_FORBIDDEN = re.compile(r"[/=\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Root:
    """A folder of pictures: what rows call it, and its absolute path."""

    name: str
    place: str

    @property
    def prefix(self) -> str:
        """What the urls of its rows begin with."""
        return f"{SCHEME}{self.name}/"

    @property
    def inside(self) -> str:
        """What the paths of its files begin with."""
        return f"{self.place.rstrip('/')}/"

    @property
    def is_there(self) -> bool:
        """Whether there is anything in the folder: where a disk is not plugged in, there may be an
        empty one."""
        try:
            return next(Path(self.place).iterdir(), None) is not None
        except OSError:
            return False

    def holds(self, path: Path) -> bool:
        """Whether ``path`` is the root or below."""
        return f"{path}/".startswith(self.inside)


def check_name(name: str) -> str:
    """``name``, if a root may be called so. Raises UserError if not."""
    if not name.strip() or len(name) > _LONGEST or _FORBIDDEN.search(name):
        raise UserError(
            f"--root {name}: a root's name has 1 to {_LONGEST} letters, and neither / nor ="
        )
    return name


def name_for(folder: Path, taken: Iterable[str]) -> str:
    """A name for the root ``folder``: that of the folder, with a number if it is ``taken``."""
    used = set(taken)
    name = _FORBIDDEN.sub("-", folder.name).strip()[:_LONGEST] or "pictures"
    number, free = 1, name
    while free in used:
        number += 1
        free = f"{name} {number}"
    return free


def joined(*lists: Iterable[Root]) -> tuple[Root, ...]:
    """The roots of all ``lists``; of two with one name, the place is that of the last."""
    return tuple({root.name: root for roots in lists for root in roots}.values())


def local_urls(roots: Sequence[Root]) -> Callable[[str], str]:
    """A function that turns the url of a row into the path of its file, if it is one of a root of
    ``roots``. Other urls stay as they are."""
    places: Mapping[str, str] = {root.name: root.inside for root in roots}

    def local(url: str) -> str:
        if not url.startswith(SCHEME):
            return url
        name, slash, path = url[len(SCHEME) :].partition("/")
        return f"{places[name]}{path}" if slash and name in places else url

    return local
