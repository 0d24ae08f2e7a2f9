"""Writes a search as code to copy. Every value is quoted, so a shell or Python reads it as a value
and never runs it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cliphouse.search.filter import Filter
from cliphouse.search.literal import PICTURE, left_out, written_out
from cliphouse.search.option import Option
from cliphouse.search.query.operand import KINDS, Operand, spell_operand
from cliphouse.search.request import Request

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # characters that control a terminal
_VECTOR = "vector.npy"


@dataclass(frozen=True)
class Recipe:
    """Writes a search of ``table`` in ``database`` as a command and as a Python program; ``types``
    are those of the table's columns."""

    operands: Sequence[Operand]
    request: Request
    database: str
    table: str
    types: Mapping[str, str] = field(default_factory=dict, hash=False)

    def command(self) -> str | None:
        """A command line for a POSIX shell, or None if it would be another search, as with a filter
        and a cursor."""
        first, rest = self._ordered()
        texts = [spell_operand(operand) for operand in (first, *rest)]
        if None in texts or (self.request.filter and self.request.cursor):
            return None
        words = ["cliphouse", "search", f"--db={self.database}", f"--table={self.table}"]
        words += [f"--{_side(o)}={text}" for o, text in zip(rest, texts[1:], strict=True)]
        words += [self._word(option, value) for option, value in self._options()]
        words += ["--", str(texts[0])]
        return shlex.join(_CONTROL.sub(" ", word) for word in words)

    def python(self) -> str:
        """A Python program that prints the hits."""
        first, rest = self._ordered()
        sides = {
            side: [_argument(operand) for operand in rest if _side(operand) == side]
            for side in ("add", "subtract")
        }
        given = [_argument(first)]
        given += [f"{side}=[{', '.join(listed)}]" for side, listed in sides.items() if listed]
        given += [f"{option.name}={_value(option, value)}" for option, value in self._options()]
        arguments = "".join(f"    {argument},\n" for argument in given)
        shown = ("url", "caption") if self.request.fields is None else self.request.fields
        return (
            "import cliphouse\n\n"
            f"table = cliphouse.open({self.database!r}, table={self.table!r})\n"
            f"for hit in table.search(\n{arguments}):\n"
            f"    print({', '.join(f'hit.{name}' for name in ('score', *shown))})\n"
        )

    def notes(self) -> list[str]:
        """Notes about placeholders to replace and about options that the SQL leaves out."""
        notes = [
            f"replace {PICTURE} with your picture's file" * any(map(_is_picture, self.operands)),
            f"replace {_VECTOR} with your vector's file"
            * any(operand.vector is not None for operand in self.operands),
        ]
        notes += [f"the SQL leaves out {n}={v!r}" for n, v in left_out(self.request).items()]
        return [note for note in notes if note]

    def _ordered(self) -> tuple[Operand, list[Operand]]:
        """The main query, which must have a positive weight, and the other operands.

        Placeholder files replace pictures and vectors, which code cannot contain.
        """
        operands = [_with_file(operand) for operand in self.operands]
        first = next(operand for operand in operands if operand.weight > 0)
        operands.remove(first)
        return first, operands

    def _word(self, option: Option, value: Any) -> str:
        """An option as a word of the command line. There a filter is SQL."""
        if isinstance(value, Filter):
            return f"--where={written_out(value.condition(self.types or None))}"
        return option.argument(value)

    def _options(self) -> Iterator[tuple[Option, Any]]:
        given = {option.name for option, _ in self.request.given()}
        return ((o, v) for o, v in self.request.values() if o.name in {*given, "k"})


def _side(operand: Operand) -> str:
    return "add" if operand.weight > 0 else "subtract"


def _is_picture(operand: Operand) -> bool:
    return operand.picture is not None or operand.picture_url is not None


def _with_file(operand: Operand) -> Operand:
    if operand.picture is not None:
        return replace(operand, picture=PICTURE)
    return operand if operand.vector is None else replace(operand, vector=_VECTOR)


def _value(option: Option, value: Any) -> str:
    return f"cliphouse.{value!r}" if isinstance(value, Filter) else repr(option.write(value))


def _argument(operand: Operand) -> str:
    """An operand as an argument of a call in Python."""
    text = spell_operand(operand)
    if text is not None:
        return repr(text)
    kind = next(kind for kind in KINDS if getattr(operand, kind) is not None)
    weight = "" if abs(operand.weight) == 1 else f", weight={abs(operand.weight)!r}"
    return f"cliphouse.Operand({kind}={getattr(operand, kind)!r}{weight})"
