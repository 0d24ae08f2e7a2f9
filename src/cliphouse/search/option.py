"""The options of a search: what each layer that offers one must know of it, said once beside the
field."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from cliphouse.errors import QueryError

_KEY = "option"
_Value = TypeVar("_Value")


class OptionError(QueryError):
    """An option cannot have this value. ``option`` is the option's name where it was given, and
    ``problem`` the message without it."""

    def __init__(self, problem: str, option: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.problem = problem
        self.option = option

    def named(self, option: str) -> OptionError:
        """The same error for an interface that has another name for the option."""
        return OptionError(self.problem, option)


@dataclass(frozen=True)
class Form:
    """How values of a class are spelled outside Python. ``write`` makes JSON of a value, which is
    a str or a dict as ``kind`` says, and ``read`` makes the value of it again. Only a str can stand
    on a command line."""

    kind: type[str] | type[dict[str, object]]
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class Option:
    """A field of a request.

    ``help`` is a sentence for its users, ``meaning`` what a number is, for errors. ``least`` and
    ``most`` bound a number and belong to the range, ``above`` does not; ``longest`` bounds a text
    in characters; ``choices`` are the texts that it may be. ``mode`` is the mode whose width it
    is. All pages of a search must agree in an option that is ``alike``; the others say how far a
    search goes and by which method. An option that ``is_sql`` is for users who may write SQL, never
    for the clients of a service. ``form`` is how its values are spelled outside Python, None if
    they are numbers, texts or truth values. ``word`` is what a command line calls it, if that is
    not its name.

    ``name``, ``kind`` (its type without None) and ``default`` are those of the field.
    """

    help: str
    meaning: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    longest: int | None = None
    choices: Callable[[], tuple[str, ...]] | None = None
    mode: str | None = None
    alike: bool = True
    is_sql: bool = False
    form: Form | None = None
    word: str = ""
    name: str = ""
    kind: type[Any] = NoneType
    default: Any = None

    @property
    def flag(self) -> str:
        """What it is called on a command line."""
        word = self.word or self.name
        return f"-{word}" if len(word) == 1 else f"--{word.replace('_', '-')}"

    def read(self, value: Any) -> Any:
        """The value that JSON, a command line or a program has spelled so.

        Raises QueryError if it cannot be read.
        """
        if self.form is not None and isinstance(value, self.form.kind):
            return self.form.read(value)
        return tuple(value) if isinstance(value, list) else value

    def write(self, value: Any) -> Any:
        """The value as JSON has it."""
        return value if self.form is None or value is None else self.form.write(value)

    def argument(self, value: Any) -> str:
        """The option with this value, as one argument of a command line."""
        if isinstance(value, bool):
            return self.flag if value else f"--no-{self.flag[2:]}"
        return f"{self.flag}{'=' if self.flag.startswith('--') else ''}{self.write(value)}"

    def check(self, value: Any) -> None:
        """Raises QueryError if the option cannot have this value."""
        if value is None and self.default is None:
            return
        if self.choices is not None:
            one_of(self.name, value, self.choices())
        elif self.kind in (int, float):
            self._check_number(value)
        elif not isinstance(value, self.kind):
            raise QueryError(f"{self.name} is {value!r}; it must be of type {self.kind.__name__}")

    def _check_number(self, value: Any) -> None:
        try:
            number = operator.index(value) if self.kind is int else float(value)
        except (TypeError, ValueError):
            kind = "a whole number" if self.kind is int else "a number"
            raise QueryError(f"{self.name} is {value!r}; it must be {kind}") from None
        is_inside = (
            (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
        )
        if not is_inside or number != number:
            raise QueryError(f"{self.name} is {value}; it {self._rule()}")

    def _rule(self) -> str:
        must = f"is {self.meaning}" if self.meaning else "must be"
        if self.least is not None and self.most is not None:
            return f"{must} {self.least:,} to {self.most:,}"
        bounds = {"at least": self.least, "above": self.above, "up to": self.most}
        named = [f"{words} {bound:,}" for words, bound in bounds.items() if bound is not None]
        return f"{must} {', '.join(named) or 'a number'}"


def option(default: _Value, **about: Any) -> _Value:
    """A field of a request with this default; ``about`` are fields of Option."""
    return field(default=default, metadata={_KEY: Option(**about)})


def options_of(request: type) -> tuple[Option, ...]:
    """The options of a class of requests, in the order of its fields."""
    known: Any = request  # for mypy, which takes the hash of its instances for its own
    return _options_of(known)


@cache
def _options_of(request: Any) -> tuple[Option, ...]:
    hints = get_type_hints(request)
    return tuple(
        replace(f.metadata[_KEY], name=f.name, kind=_kind(hints[f.name]), default=f.default)
        for f in fields(request)
    )


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises QueryError if ``value`` is none of those allowed."""
    if value not in allowed:
        raise QueryError(f"{name} {value!r}: it must be one of {', '.join(allowed)}")


def _kind(hint: Any) -> Any:
    """The type in ``hint`` but for None, as a class."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    kind = kinds[0] if NoneType in get_args(hint) else hint
    return get_origin(kind) or kind
