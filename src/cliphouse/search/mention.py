"""Words that a row's name or caption has, beside a search by meaning."""

from __future__ import annotations

from collections.abc import Mapping

from cliphouse.engine.quoting import backquote
from cliphouse.errors import QueryError
from cliphouse.search.column_filter import ValueType
from cliphouse.search.condition import Condition

MOST_WORDS = 30
_NAME = "file_name"
_READ = ("caption", _NAME, "title", "keywords")
_URL_NAME = "arrayElement(splitByChar('/', url), -1)"  # behind the last slash


def mentions(text: str, types: Mapping[str, str]) -> Condition | None:
    """What the rows of a table with columns of these ``types`` meet that have each word of
    ``text``, or a part of a word, in any case: in the caption, the file's name, the title or a
    keyword. None if there are no words.

    Raises QueryError if there are more than MOST_WORDS.
    """
    words = text.split()
    if len(words) > MOST_WORDS:
        raise QueryError(f"a name or caption is searched for {MOST_WORDS} words, not {len(words)}")
    if not words:
        return None
    parameters = {f"mention_{place}": word for place, word in enumerate(words)}
    terms = [_has(f"{{{name}:String}}", types) for name in parameters]
    return Condition(" AND ".join(terms), parameters)


def _has(word: str, types: Mapping[str, str]) -> str:
    terms = []
    for column in _READ:
        kind = ValueType.of(types.get(column, ""))
        if kind.is_text:
            terms.append(_in_list(column, word) if kind.is_list else _in(backquote(column), word))
    if _NAME not in types and "url" in types:
        terms.append(_in(_URL_NAME, word))
    return f"({' OR '.join(terms) or '0'})"


def _in(text: str, word: str) -> str:
    return f"ifNull(positionCaseInsensitiveUTF8({text}, {word}) > 0, 0)"


def _in_list(column: str, word: str) -> str:
    return f"arrayExists(one -> {_in('one', word)}, {backquote(column)})"
