"""What an earlier run passed over: named once, and not opened again as long as it is the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cliphouse._version import __version__
from cliphouse.pictures.find import Picture
from cliphouse.pictures.passed_over import Kind, PassedOver
from cliphouse.shards.disk import write_whole

_NAME = "passed_over.json"
_OF_FILES: tuple[Kind, ...] = ("damaged", "too large")


@dataclass(frozen=True)
class KnownFaults:
    """What ``passed_over.json`` in a folder of shards says: reasons by path, and for pictures the
    size and time of the file. It is forgotten if the release or the limit of pixels is another."""

    path: Path
    max_pixels: int
    entries: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, shards: Path, max_pixels: int) -> KnownFaults:
        path = shards / _NAME
        try:
            content = json.loads(path.read_text("utf-8"))
            same = (content["version"], content["max_pixels"]) == (__version__, max_pixels)
            entries = dict(content["entries"]) if same else {}
        except (OSError, ValueError, KeyError, TypeError):
            entries = {}
        return cls(path, max_pixels, entries)

    def sort_out(self, pictures: Sequence[Picture]) -> tuple[list[Picture], list[PassedOver]]:
        """The pictures that may be good, and those that were found bad as they are now."""
        if not self.entries:
            return list(pictures), []
        good, bad = [], []
        for picture in pictures:
            entry = self.entries.get(picture.name)
            if entry is not None and entry.get("file") == [picture.bytes, picture.mtime_ns]:
                bad.append(PassedOver(Path(picture.name), entry["reason"], entry["kind"]))
            else:
                good.append(picture)
        return good, bad

    def known_among(self, passed: Sequence[PassedOver]) -> list[PassedOver]:
        """Those passed over that were so before."""
        return [item for item in passed if self._is_known(item)]

    def _is_known(self, item: PassedOver) -> bool:
        entry = self.entries.get(_key(item))
        return entry is not None and entry["reason"] == item.reason

    def write(self, passed: Sequence[PassedOver], pictures: Sequence[Picture]) -> None:
        """Remember what was passed over; ``pictures`` are those that may have been good."""
        files = {each.name: [each.bytes, each.mtime_ns] for each in pictures if passed}
        entries: dict[str, dict[str, Any]] = {}
        for item in passed:
            entry: dict[str, Any] = {"kind": item.kind, "reason": item.reason}
            file = files.get(str(item.path)) or self.entries.get(_key(item), {}).get("file")
            if item.kind in _OF_FILES and file:
                entry["file"] = file
            entries[_key(item)] = entry
        if entries == self.entries:
            return
        content = {"version": __version__, "max_pixels": self.max_pixels, "entries": entries}
        write_whole(self.path, json.dumps(content))


def _key(item: PassedOver) -> str:
    """Of a caption list, each line is passed over by itself."""
    return f"{item.path}: {item.reason}" if item.kind == "caption" else str(item.path)
