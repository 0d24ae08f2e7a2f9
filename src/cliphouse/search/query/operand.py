"""What is searched for: one thing and its weight, and how people spell it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from cliphouse.errors import QueryError
from cliphouse.search.query.typed import WORDS, existing_file, is_plain, is_vector, read_typed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from PIL import Image

Query: TypeAlias = "str | Path | Image.Image | ArrayLike | Operand"

KINDS = ("words", "picture", "picture_url", "vector", "id")
HEAVIEST = 1000
_INT64 = 2**63
_UNNAMED = "the query"
_WEIGHT = re.compile(r"(\d+(?:\.\d+)?):(?=\S)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Operand:
    """One thing searched for and its weight, negative to get away from it: ``words`` just as they
    are, a ``picture`` (a file's path, its bytes or a PIL image), a picture's URL, a ``vector`` of
    the table's dimension (an array, a sequence of numbers or the path of a .npy file), or the
    ``id`` of a row, which stands for its own embedding.

    ``made_of`` says what a vector was encoded from: "text", "image", or "vector" if that is not
    known.

    Raises QueryError if none of them is given or more than one, or the weight is 0, not finite or
    beyond 1000.
    """

    words: str | None = None
    picture: str | Path | bytes | Image.Image | None = None
    picture_url: str | None = None
    vector: str | Path | ArrayLike | None = None
    id: int | None = None
    weight: float = 1.0
    made_of: Literal["text", "image", "vector"] = "vector"

    def __post_init__(self) -> None:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            listed = " and ".join(given) or "nothing"
            raise QueryError(f"one operand has one of {', '.join(KINDS)}; this one has {listed}")
        if self.weight == 0:
            raise QueryError("a weight of 0 says nothing; leave the operand out")
        if not abs(self.weight) <= HEAVIEST:
            raise QueryError(f"a weight of {self.weight}; it must be {-HEAVIEST:,} to {HEAVIEST:,}")
        if self.words is not None and not self.words.strip():
            raise QueryError("the words are empty")
        if self.id is not None and not -_INT64 <= self.id < _INT64:
            raise QueryError(f"id:{self.id}: no row has such a number")

    @property
    def name(self) -> str:
        """What an error calls it."""
        if self.id is not None:
            return f"id:{self.id}"
        file = self.vector if self.vector is not None else self.picture
        return str(file) if isinstance(file, str | Path) else _UNNAMED

    def describe(self) -> str:
        """What is searched for, for a log."""
        if isinstance(self.picture, bytes):
            what: object = f"a picture of {len(self.picture)} bytes"
        elif self.vector is not None:
            what = "a vector"
        else:
            what = self.words or self.picture_url or self.name
        return repr(what) if self.weight == 1 else f"{self.weight:g} x {what!r}"


def parse_operand(text: str) -> Operand:
    """What people type, on the command line as in Python: words, ``id:N``, the path or URL of a
    picture, or the path of a .npy file with one vector (see cliphouse.search.query.typed). A weight
    may stand in front, as in ``2:cat``; ``1:2:30 to Paris`` are the words "2:30 to Paris".

    Raises QueryError as read_typed does, and if the weight is 0 or beyond 1000.
    """
    match = _WEIGHT.fullmatch(text.strip())
    if match is None or existing_file(text):
        return _parse(text)
    weight = float(match[1])
    if not 0 < weight <= HEAVIEST:
        raise QueryError(f"{text[:40]}: a weight is more than 0 and up to {HEAVIEST:,}")
    return replace(_parse(match[2]), weight=weight)


def spell_operand(operand: Operand) -> str | None:
    """The text that parse_operand reads as this operand, but for its sign; None if there is none,
    as for a bare vector."""
    text = operand.words or operand.picture_url or operand.name
    if text == _UNNAMED:
        return None
    if operand.words is not None and not is_plain(operand.words):
        text = WORDS + text.lstrip()
    weight = f"{abs(operand.weight):.6f}".rstrip("0").rstrip(".")
    if weight == "1" and not _WEIGHT.fullmatch(text.strip()):
        return text
    return f"{weight}:{text.lstrip()}"


def to_operand(query: Query) -> Operand:
    """One query, however a program gives it, as an operand. Text is read as parse_operand does.

    Raises QueryError if it cannot be understood.
    """
    if isinstance(query, Operand):
        return query
    if isinstance(query, str):
        return parse_operand(query)
    if isinstance(query, Path):
        return _file(query.expanduser())
    from PIL import Image  # for what programs give; words and rows do without

    if isinstance(query, Image.Image):
        return Operand(picture=query)
    return Operand(vector=query)


def operands_of(
    query: Query, add: Iterable[Query] = (), subtract: Iterable[Query] = ()
) -> tuple[Operand, ...]:
    """A query with others added to it and subtracted from it. Raises QueryError as to_operand."""
    minus = [to_operand(other) for other in subtract]
    return (
        to_operand(query),
        *map(to_operand, add),
        *(replace(operand, weight=-operand.weight) for operand in minus),
    )


def one_query(query: Query | Sequence[Operand]) -> tuple[Operand, ...]:
    """A query, or the operands of a sum, as operands. Raises QueryError as to_operand."""
    if isinstance(query, list | tuple) and all(isinstance(one, Operand) for one in query):
        return tuple(query)
    return (to_operand(cast("Query", query)),)


def require_positive(operands: Sequence[Operand]) -> None:
    """Raises QueryError if nothing is searched for, or everything is subtracted."""
    if not operands:
        raise QueryError(f"nothing to search for: give one of {', '.join(KINDS)} or operands")
    if all(operand.weight < 0 for operand in operands):
        raise QueryError("everything is subtracted: give an operand with a positive weight")


def _parse(text: str) -> Operand:
    kind, value = read_typed(text)
    given: dict[str, Any] = {kind: value}
    return Operand(**given)


def _file(path: Path) -> Operand:
    return Operand(vector=path) if is_vector(path) else Operand(picture=path)
