"""The indexes of captions, which are built and dropped together.

caption_index keeps for each granule a Bloom filter of all four letters that follow one another in a
caption, in small letters: 16 bytes a row. It serves LIKE on ``lowerUTF8(caption)``.

caption_words keeps for each word the rows that have it: some 17 bytes a row. It serves hasToken,
LIKE on ``caption`` for a part of a word, of four letters or more, and ILIKE if there is no k or s
among them: their other cases include the signs for kelvin and a long s, which are no ASCII.

What few captions have is found without reading the others; what is in every granule is found as
without an index.
"""

from __future__ import annotations

import re

CAPTION_EXPRESSION = "lowerUTF8(caption)"
_LETTERS, _WORDS = "caption_index", "caption_words"
CAPTION_INDEXES = (_LETTERS, _WORDS)
_LENGTH = 4  # of a part
_BYTES = 16  # a row: with half of them three times as many granules are read in vain
_HASHES = 2
_WORD = re.compile(f"[0-9a-jl-rt-zA-JL-RT-Z]{{{_LENGTH},}}")
# Whether a capital sigma becomes one small letter or the other depends on what follows it.
_NOT_INDEXED = re.compile("[Σσς]")


def caption_indexes(granule: int, has_text_index: bool) -> dict[str, str]:
    """The indexes by name, as in an ADD INDEX of a table with granules of ``granule`` rows, on an
    engine that may lack the index of words."""
    kind = f"ngrambf_v1({_LENGTH}, {_BYTES * granule}, {_HASHES}, 0)"
    indexes = {_LETTERS: f"{_LETTERS} {CAPTION_EXPRESSION} TYPE {kind} GRANULARITY 1"}
    if has_text_index:
        indexes[_WORDS] = f"{_WORDS} caption TYPE text(tokenizer = splitByNonAlpha)"
    return indexes


def word_pattern(part: str) -> str | None:
    """The pattern by which ILIKE on ``caption`` finds ``part``, and caption_words the rows with it,
    in a fifth of the time that caption_index takes; None if it knows no such part."""
    return f"%{part}%" if _WORD.fullmatch(part) else None


def indexed_pattern(part: str) -> str | None:
    """The LIKE pattern of ``lowerUTF8`` of which meets all captions that contain ``part`` in any
    case, and by which caption_index finds them; None if the part is too short for it."""
    piece = max(_NOT_INDEXED.split(part), key=len)
    if len(piece) < _LENGTH:
        return None
    escaped = re.sub(r"([\\%_])", r"\\\1", piece)
    return f"%{escaped}%"
