"""Whether the files of hits are there, of pictures in folders that the table follows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from cliphouse.search.hits import Hit
from cliphouse.shards.roots import Root

_FRAME = "#t="


def look_for_files(hits: Sequence[Hit], roots: Sequence[Root]) -> Sequence[Hit]:
    """The hits. Those with the path of a file in one of ``roots`` know if it is ``missing``."""
    if not roots:
        return hits
    inside = tuple(root.inside for root in roots)
    return [
        replace(hit, missing=_is_missing(url))
        if (url := str(hit.values.get("url") or "")).startswith(inside)
        else hit
        for hit in hits
    ]


def _is_missing(path: str) -> bool:
    if _FRAME in path:
        from cliphouse.pictures.video import split_frame  # slow to import

        path = split_frame(path)[0]
    return not os.path.exists(path)  # noqa: PTH110 - for each hit of each search
