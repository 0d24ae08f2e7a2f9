"""Which root a folder of pictures is: a known one, a known one that has moved, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cliphouse.errors import UserError
from cliphouse.pictures.known import Known
from cliphouse.pictures.walk import FoundFile
from cliphouse.shards.roots import Root, check_name, joined, name_for

_MOVED_SHARE = 0.5  # of a root's rows: a folder with so many of its files is that root, moved


@dataclass(frozen=True)
class RootWish:
    """What a caller says of a folder that becomes a root: its ``name``, None for one by itself, and
    the roots that the table knows already (``known``)."""

    name: str | None = None
    known: tuple[Root, ...] = ()


def parse_root(text: str) -> tuple[str, Path | None]:
    """A root's name and its folder, as in NAME=DIR; None if only a name is given. Raises UserError
    if it is no name."""
    name, equals, place = text.partition("=")
    if equals and not place:
        raise UserError(f"--root {text}: no folder behind the =; write --root NAME=DIR")
    return check_name(name), Path(place) if equals else None


def root_called(name: str, roots: Sequence[Root]) -> Root:
    """The root of this name. Raises UserError if there is none."""
    for root in roots:
        if root.name == name:
            return root
    there = ", ".join(root.name for root in roots) or "none"
    raise UserError(
        f"--root {name}: the table has no such root (it has {there}); write --root {name}=DIR to "
        "make one"
    )


class RootFinder:
    """Finds the root of one folder among those that its shards and its table know.

    ``root`` is the chosen one, ``roots`` are those of the shards with it, and ``moved_from`` is
    where it was, if it has moved.
    """

    def __init__(
        self, folder: Path, known: Known, wish: RootWish | None, moved_from: Path | None
    ) -> None:
        """Without a ``wish`` a new folder becomes no root, and its rows keep absolute paths."""
        self.root: Root | None = None
        self.roots = known.roots
        self.moved_from: str | None = None
        self._folder = Root("", str(folder.resolve()))
        self._known = known
        self._wish = wish
        self._all = joined(wish.known if wish else (), known.roots)
        self._former = None if moved_from is None else str(moved_from.resolve())

    def choose(self, files: Sequence[FoundFile]) -> Root | None:
        """The root of the folder, which has these ``files``; None if it is none.

        Raises UserError if the folder cannot have the name that is wished for.
        """
        here = Path(self._folder.place)
        around = [root for root in self._all if root.holds(here)]
        self.root = max(around, key=lambda root: len(root.place), default=None)
        if self._wish is None:
            return self.root
        if self._wish.name is not None:
            self._take(self._checked(self._wish.name))
        elif self.root is None:
            self._take(self._name(files))
        else:
            self.roots = joined(self.roots, [self.root])
        return self.root

    def without_swallowed(self) -> tuple[Root, ...]:
        """``roots`` without those within the folder: when its rows are of the chosen root, they
        have none."""
        return tuple(root for root in self.roots if root == self.root or not self._has(root))

    def _has(self, root: Root) -> bool:
        return self._folder.holds(Path(root.place))

    def _take(self, name: str) -> None:
        self.root = Root(name, self._folder.place)
        old = next((each for each in self._all if each.name == name), None)
        if old is not None and old != self.root:
            self.moved_from = old.place
        self.roots = joined(self.roots, [self.root])

    def _checked(self, name: str) -> str:
        check_name(name)
        if self.root is not None and self.root.place != self._folder.place:
            raise UserError(
                f"{self._folder.place}: is in the root {self.root.name}, {self.root.place}; sync "
                "it without --root"
            )
        old = next((each for each in self._all if each.name == name), None)
        if old is None or old.place == self._folder.place or old in self._known.roots:
            return name
        raise UserError(
            f"--root {name}: the table has a root {name}, {old.place}, whose pictures are in other "
            "shards; give another name"
        )

    def _name(self, files: Sequence[FoundFile]) -> str:
        """The name of a root that has moved here, or else a new one."""
        for root in self._known.roots:
            if root.place == self._former or (not root.is_there and self._is_moved(root, files)):
                return root.name
        return name_for(Path(self._folder.place), (root.name for root in self._all))

    def _is_moved(self, root: Root, files: Sequence[FoundFile]) -> bool:
        """Whether the folder has at least half of the root's files, as they were."""
        rows = [row for row in self._known.listed if row.url.startswith(root.prefix)]
        here = {file.path: (file.bytes, file.mtime_ns) for file in files}
        inside, start = self._folder.inside, len(root.prefix)
        found = sum(here.get(inside + r.url[start:]) == (r.bytes, r.mtime_ns) for r in rows)
        return 0 < found >= _MOVED_SHARE * len(rows)
