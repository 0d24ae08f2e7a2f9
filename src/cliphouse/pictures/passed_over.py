"""Files that are no rows, and why: each is counted by kind and named."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cliphouse.shards.whole_file import whole_file

_SUFFIXES = 5  # that a count names
Kind = Literal[
    "damaged",
    "too large",
    "unreadable",
    "broken link",
    "linked twice",
    "unknown suffix",
    "raw",
    "video",
    "caption",
    "name",
    "hidden",
]
# What one of a kind is called, and several.
_NAMES: dict[Kind, tuple[str, str]] = {
    "damaged": ("file that is no picture", "files that are no pictures"),
    "too large": ("picture with too many pixels", "pictures with too many pixels"),
    "unreadable": ("file or folder that cannot be read", "files or folders that cannot be read"),
    "broken link": ("broken link", "broken links"),
    "linked twice": ("link to what is there already", "links to what is there already"),
    "unknown suffix": ("file of another kind", "files of other kinds"),
    "raw": ("RAW photograph", "RAW photographs"),
    "video": ("video", "videos"),
    "caption": ("caption that is not used", "captions that are not used"),
    "name": ("name that is not UTF-8", "names that are not UTF-8"),
    "hidden": ("hidden file or folder", "hidden files or folders"),
}


@dataclass(frozen=True)
class PassedOver:
    """A file or folder that was passed over, or a part of it that ``reason`` names."""

    path: Path
    reason: str
    kind: Kind = "damaged"


def describe(passed: Iterable[PassedOver]) -> str:
    """How many of each kind, as in "7 files of other kinds (.pdf 6, .xcf 1), 1 broken link"."""
    found = list(passed)
    kinds = Counter(item.kind for item in found)
    parts = []
    for kind, count in kinds.most_common():
        one, several = _NAMES[kind]
        part = f"{count:,} {one if count == 1 else several}"
        parts.append(part + _suffixes(found) if kind == "unknown suffix" else part)
    return ", ".join(parts)


def _suffixes(passed: Sequence[PassedOver]) -> str:
    suffixes = Counter(
        item.path.suffix.lower() or "no suffix" for item in passed if item.kind == "unknown suffix"
    )
    listed = ", ".join(f"{name} {count:,}" for name, count in suffixes.most_common(_SUFFIXES))
    more = f", {len(suffixes) - _SUFFIXES:,} more" if len(suffixes) > _SUFFIXES else ""
    return f" ({listed}{more})"


def write_report(passed: Sequence[PassedOver], path: Path) -> None:
    """Write all that was passed over as CSV: kind, path, reason. Raises what `whole_file` does."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("kind", "path", "reason"))
    writer.writerows((item.kind, str(item.path), item.reason) for item in passed)
    with whole_file(path) as stream:
        stream.write(text.getvalue().encode("utf-8", "backslashreplace"))
