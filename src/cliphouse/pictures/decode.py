"""Text of unknown encoding: read as it was written, or refused."""

from __future__ import annotations

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = ("cp1252", "latin_1")  # Windows and the Unix of old days, of which the first has more


def decode(data: bytes) -> str:
    """The text of ``data`` in UTF-8, or in UTF-16, UTF-32, Windows-1252 or Latin-1.

    Raises UnicodeError, with what to do, if it is in another encoding or is no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode(data, encoding)
    if b"\0" in data:
        # Latin letters in UTF-16 have their zeros in every second byte.
        is_big = data[::2].count(0) > data[1::2].count(0)
        return _decode(data, "utf-16-be" if is_big else "utf-16-le")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _guess(data)


def _decode(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnicodeError(f"not text in {encoding}: {error.reason}") from error
    if "\0" in text:
        raise UnicodeError("not text: it has zero bytes")
    return text


def _guess(data: bytes) -> str:
    """The text if it is Western: other bytes, read as Latin letters, look like no words."""
    from charset_normalizer import from_bytes

    western = from_bytes(data, cp_isolation=list(_WESTERN)).best()
    if western is not None:
        return str(western)
    guess = from_bytes(data).best()
    name = f"it may be in {guess.encoding}" if guess is not None else "it may be no text"
    raise UnicodeError(f"not in UTF-8 ({name}); save it in UTF-8")
