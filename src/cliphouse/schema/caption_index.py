"""The index of captions: which granules may have a caption with a certain part.

For each granule it keeps a Bloom filter of all four letters that follow one another in a caption,
in small letters: 16 bytes a row. Parts that few captions have are found without reading the others;
parts that are in every granule are found as without it.
"""

from __future__ import annotations

import re

CAPTION_INDEX = "caption_index"
CAPTION_EXPRESSION = "lowerUTF8(caption)"
_LETTERS = 4
_BYTES = 16  # a row: with half of them three times as many granules are read in vain
_HASHES = 2
# Whether a capital sigma becomes one small letter or the other depends on what follows it.
_NOT_INDEXED = re.compile("[Σσς]")


def caption_index_sql(granule: int) -> str:
    """The index in an ADD INDEX of a table with granules of ``granule`` rows."""
    kind = f"ngrambf_v1({_LETTERS}, {_BYTES * granule}, {_HASHES}, 0)"
    return f"{CAPTION_INDEX} {CAPTION_EXPRESSION} TYPE {kind} GRANULARITY 1"


def indexed_pattern(part: str) -> str | None:
    """The LIKE pattern of ``lowerUTF8`` of which meets all captions that contain ``part`` in any
    case, and by which the index finds them; None if the part is too short for it."""
    piece = max(_NOT_INDEXED.split(part), key=len)
    if len(piece) < _LETTERS:
        return None
    escaped = re.sub(r"([\\%_])", r"\\\1", piece)
    return f"%{escaped}%"
