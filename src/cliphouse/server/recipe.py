"""A search written down for people to copy: every value quoted, so that none is ever more than a
value where it is pasted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import PurePath

from cliphouse.pictures.files import SUFFIXES
from cliphouse.search.query.literal import Spelled, written_out
from cliphouse.search.query.vector import as_row_id, is_url
from cliphouse.server.query import QueryPart, SearchQuery

_WEIGHTED = re.compile(r"\s*\d+(\.\d+)?:\S")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # what a terminal would act upon
_PICTURE = "picture.jpg"
_VECTOR = "vector.npy"
_OPTIONS = ("modality", "k", "metric", "mode", "ef", "oversampling", "dedup", "offset")


@dataclass(frozen=True)
class Recipe:
    """How to ask ``query`` of ``table`` in ``database`` elsewhere."""

    query: SearchQuery
    database: str
    table: str

    def command(self) -> str | None:
        """A line for a POSIX shell; None where words look like a row, a file or an address, for
        which the command line would take them."""
        if any(part.words is not None and _is_ambiguous(part.words) for part in self.query.parts):
            return None
        first, rest = self._ordered()
        words = ["cliphouse", "search", f"--db={self.database}", f"--table={self.table}"]
        words += [f"--{_side(part)}={_text(part)}" for part in rest]
        words += [
            f"-k{value}" if name == "k" else f"--{name}={value}" for name, value in self._options()
        ]
        if self.query.filter:
            condition = written_out(self.query.filter.condition())
            words.append(f"--where={condition}")
        return shlex.join(_CONTROL.sub(" ", word) for word in [*words, "--", _text(first)])

    def python(self) -> str:
        """A program that prints the hits."""
        first, rest = self._ordered()
        sides = {
            side: [_argument(part) for part in rest if _side(part) == side]
            for side in ("add", "subtract")
        }
        given = [_argument(first)]
        given += [f"{side}=[{', '.join(parts)}]" for side, parts in sides.items() if parts]
        given += [f"{name}={value!r}" for name, value in self._options()]
        if self.query.filter:
            given.append(f"filter=cliphouse.{self.query.filter!r}")
        arguments = "".join(f"    {argument},\n" for argument in given)
        words = [part.words for part in self.query.parts if part.words is not None]
        operand = "from cliphouse.search.query.vector import Operand\n" * any(
            map(_is_ambiguous, words)
        )
        return (
            f"import cliphouse\n{operand}\n"
            f"table = cliphouse.open({self.database!r}, table={self.table!r})\n"
            f"for hit in table.search(\n{arguments}):\n"
            "    print(hit.similarity, hit.url, hit.caption)\n"
        )

    def spelled(self) -> list[Spelled]:
        """What is searched for, for a statement."""
        return [
            Spelled(part.words, _picture(part), part.id, part.vector, part.weight)
            for part in self.query.parts
        ]

    def notes(self) -> list[str]:
        """What has to be replaced by hand."""
        parts = self.query.parts
        notes = [f"{_PICTURE} stands for your picture's file"] * any(map(_picture, parts))
        return notes + [f"{_VECTOR} stands for your vector's file"] * any(p.vector for p in parts)

    def _ordered(self) -> tuple[QueryPart, list[QueryPart]]:
        """The query proper, which cannot be subtracted, and the others."""
        parts = list(self.query.parts)
        first = next(part for part in parts if part.weight > 0)
        parts.remove(first)
        return first, parts

    def _options(self) -> Iterator[tuple[str, object]]:
        for field in fields(self.query):
            value = getattr(self.query, field.name)
            if field.name in _OPTIONS and (value != field.default or field.name == "k"):
                yield field.name, value


def _side(part: QueryPart) -> str:
    return "add" if part.weight > 0 else "subtract"


def _picture(part: QueryPart) -> str | None:
    return _PICTURE if part.picture is not None or part.picture_url is not None else None


def _is_ambiguous(words: str) -> bool:
    return (
        as_row_id(words) is not None
        or is_url(words)
        or PurePath(words).suffix.lower() in {*SUFFIXES, ".npy"}
    )


def _text(part: QueryPart) -> str:
    """A part as the command line takes it."""
    if part.words is not None:
        text = part.words
    elif part.id is not None:
        text = f"id:{part.id}"
    elif part.vector is not None:
        text = _VECTOR
    else:
        text = part.picture_url or _PICTURE
    weight = f"{abs(part.weight):.6f}".rstrip("0").rstrip(".")
    return text if weight == "1" and not _WEIGHTED.match(text) else f"{weight}:{text.lstrip()}"


def _argument(part: QueryPart) -> str:
    """A part as an argument in Python. Ambiguous words are encoded first."""
    if part.words is None or not _is_ambiguous(part.words):
        return repr(_text(part))
    return f"Operand(table.encode({part.words!r}), {abs(part.weight)!r})"
