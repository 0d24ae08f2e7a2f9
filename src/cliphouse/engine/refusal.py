"""Why the engine refused a statement: the fault, its position, or the unknown name."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from cliphouse.errors import QueryError, TableError

_POSITION = re.compile(r"failed at position (\d+)")
_COLUMN = re.compile(
    r"(?:Unknown (?:expression )?(?:or (?:function|table expression) )?identifier|Identifier|"
    r"Missing columns:)"
    r" [`'](?P<name>[^`']+)[`']"
)
_FUNCTION = re.compile(
    r"Function with name [`'](?P<name>\w+)[`'] does not exist|Unknown function (?P<older>\w+)"
)
_MISSING = re.compile(
    r"(?:Unknown table expression identifier|\bTable|(?P<database>\bDatabase)) "
    r"(?P<name>'[^']+'|`[^`]+`|[^\s'`]+?)(?=\.?$| does not exist|\. Maybe|\. \()"
)
_MEANT = re.compile(r"Maybe you meant (\S+?)\?")
_SUGGESTION = re.compile(r"Maybe you meant: \['([^']+)'")
_NO_CONDITION = re.compile(
    r"Invalid type for filter in \w+: (?P<type>.+)"
    r"|Illegal type (?P<counted>.+) of the last argument of an aggregate function with the If"
    r"|Illegal type (?P<older>.+) of column for filter"
)
# The text after the fault itself: the statement, or the step in which it occurred.
_STATEMENT = re.compile(
    r"[.:,]?\s*\b(?:in (?:scope|query)|while (?:executing|processing))\b.*"
    r"|\s*\([A-Z_]+\)\s*$",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class UnknownName:
    """A name in a statement that the engine does not know, and the name that it suggests."""

    name: str
    is_function: bool
    suggestion: str | None


class StatementError(QueryError):
    """The engine refused a statement because of its text.

    ``reason`` is the fault without the statement around it. ``position`` is the byte of the
    statement, from 0, at which a syntax error is; None for other errors. ``unknown`` is the name
    that the engine does not know; None for other errors.
    """

    def __init__(
        self,
        message: str,
        reason: str = "",
        position: int | None = None,
        unknown: UnknownName | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.position = position
        self.unknown = unknown


class MissingTableError(TableError):
    """A statement reads a table or a database that does not exist. ``name`` is its name, None if
    the engine does not tell, and ``problem`` the message without the address."""

    def __init__(self, shown: str, problem: str, name: str | None) -> None:
        super().__init__(f"{shown}: {problem}")
        self.problem = problem
        self.name = name


def read_missing(message: str, shown: str) -> MissingTableError:
    """Read the engine's message, one line, that the table or database does not exist; ``shown`` is
    the address."""
    match = _MISSING.search(message)
    if match is None:
        return MissingTableError(shown, message, None)
    name = match["name"].strip("'`")
    meant = _MEANT.search(message)
    near = difflib.get_close_matches(name, meant.groups() if meant else ())
    hint = f"; did you mean {near[0]}?" if near else ""
    kind = "database" if match["database"] else "table"
    return MissingTableError(shown, f"there is no {kind} {name}{hint}", name)


def read_refusal(message: str) -> StatementError:
    """Read the engine's message, one line, into an error that has its parts."""
    if match := _POSITION.search(message):
        # The engine may name the fault before the position; the statement follows it.
        before = re.sub(r":?\s*Syntax error:?\s*$", "", message[: match.start()])
        return StatementError(message, before or "this is not SQL", int(match[1]) - 1)
    suggestion = _SUGGESTION.search(message)
    for kind in (_COLUMN, _FUNCTION):
        if match := kind.search(message):
            name = next(group for group in match.groups() if group)
            suggested = suggestion[1] if suggestion else None
            unknown = UnknownName(name, kind is _FUNCTION, suggested)
            return StatementError(message, unknown=unknown)
    reason = _STATEMENT.sub("", message).rstrip(".: ")
    if match := _NO_CONDITION.search(reason):
        given = next(group for group in match.groups() if group)
        reason = f"it is of type {given}, and so neither true nor false"
    return StatementError(message, reason)
