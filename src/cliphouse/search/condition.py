"""SQL conditions on the rows of a table: all of them are made and checked here.

Conditions can be joined with AND. What a user typed is checked before it becomes part of a
statement, in brackets of its own, and the engine's errors about it are translated into its own
terms: the option, and the position in what was typed.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cliphouse.engine.refusal import MissingTableError, StatementError, UnknownName
from cliphouse.engine.statements import find_name, find_unbalanced, is_blank
from cliphouse.search.option import OptionError

SCORE = "score"  # the name that conditions have for the cosine similarity to the query
_EXCERPT = 30  # letters of a condition that an error shows


class ConditionError(OptionError):
    """A condition that a user typed cannot be used."""

    def __init__(self, problem: str, option: str = "where") -> None:
        super().__init__(problem, option)


@dataclass(frozen=True)
class Typed:
    """A condition as a user typed it, which may name these columns."""

    text: str
    columns: frozenset[str]

    @property
    def sql(self) -> str:
        """The text in brackets; the line break ends a comment that it may end with."""
        return f"({self.text}\n)"

    def check(self) -> None:
        """Raises ConditionError if the text is nothing but a comment, a bracket of it would close
        one that it does not open, or a bracket, quote or comment is not closed."""
        index = find_unbalanced(self.text)
        if index is not None:
            raise ConditionError(f"{self._at(index)}: {_counterpart(self.text[index:])}")
        if is_blank(self.text):
            raise ConditionError("the condition is empty: there is only a comment")

    def explain_missing(self, error: MissingTableError) -> ConditionError | None:
        """The error about a table that does not exist as one about the text; None if the text does
        not name it."""
        if error.name is None:
            return None
        index = find_name(self.text, error.name)
        return None if index is None else ConditionError(f"{self._at(index)}: {error.problem}")

    def explain(self, error: StatementError, sql: str) -> ConditionError | None:
        """The engine's error about the statement ``sql`` as one about the text in it; None if the
        text is not what the engine complains of."""
        if error.position is not None:
            return self._syntax_error(error.reason, error.position, sql)
        if error.unknown is not None:
            index = find_name(self.text, error.unknown.name)
            if index is None:
                return None
            is_quoted = self.text[index] in '"“'
            return ConditionError(f"{self._at(index)}: {self._unknown(error.unknown, is_quoted)}")
        return ConditionError(error.reason)

    def _syntax_error(self, reason: str, position: int, sql: str) -> ConditionError | None:
        statement, text = sql.encode(), self.text.rstrip().encode()
        inside = position - (statement.find(self.sql.encode()) + 1)
        if inside < 0:
            return None
        if inside >= len(text):
            end = " ".join(self.text.split())[-_EXCERPT:]
            return ConditionError(f"it is not complete: something is missing after {end!r}")
        index = len(text[:inside].decode("utf-8", "ignore"))
        return ConditionError(f"{self._at(index)}: {reason}")

    def _unknown(self, unknown: UnknownName, is_quoted: bool) -> str:
        if unknown.is_function:
            hint = f"; did you mean {unknown.suggestion}?" if unknown.suggestion else ""
            return f"there is no function {unknown.name}{hint}"
        name = unknown.name.rpartition(".")[2]
        if name == SCORE:
            return "only a search knows a score"
        what = f"the table has no column {name}"
        if is_quoted:
            return f"{what}; text is written in single quotes: '{name}'"
        if near := _nearest(name, self.columns):
            return f"{what}; did you mean {near}?"
        columns = ", ".join(sorted(self.columns, key=str.lower))
        return f"{what}, only {columns}; text is written in single quotes"

    def _at(self, index: int) -> str:
        near = " ".join(self.text[index : index + _EXCERPT].split())
        return f"position {index + 1}, at {near!r}"


@dataclass(frozen=True)
class Condition:
    """A SQL condition and the values of its parameters; ``typed`` is the part of it that a user
    typed. ``is_on_score`` says that it names the query's ``score``, which no row has by itself."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    typed: Typed | None = None
    is_on_score: bool = False


def typed_condition(text: str | None, columns: Collection[str]) -> Condition | None:
    """The condition that a user typed, which may name ``columns``; None if it is empty.

    Raises ConditionError if its brackets, quotes and comments do not pair up.
    """
    if text is None or not text.strip():
        return None
    typed = Typed(text, frozenset(columns))
    typed.check()
    return Condition(typed.sql, typed=typed, is_on_score=find_name(text, SCORE) is not None)


def every(*conditions: Condition | None) -> Condition | None:
    """The condition that all of ``conditions`` hold; None if there is none. At most one of them is
    typed by a user, and their parameters have different names."""
    given = [condition for condition in conditions if condition is not None]
    if not given:
        return None
    parameters: dict[str, Any] = {}
    for condition in given:
        parameters |= condition.parameters
    typed = next((condition.typed for condition in given if condition.typed), None)
    sql = " AND ".join(condition.sql for condition in given)
    return Condition(sql, parameters, typed, any(condition.is_on_score for condition in given))


@contextmanager
def explained(condition: Condition | None, sql: str) -> Iterator[None]:
    """Run the statement ``sql``, which holds ``condition``, in this context: what the engine says
    of the condition is raised as ConditionError."""
    try:
        yield
    except (StatementError, MissingTableError) as error:
        typed = condition.typed if condition else None
        explanation = None
        if typed is not None and isinstance(error, MissingTableError):
            explanation = typed.explain_missing(error)
        elif typed is not None and isinstance(error, StatementError):
            explanation = typed.explain(error, sql)
        if explanation is None:
            raise
        raise explanation from error


def _counterpart(rest: str) -> str:
    if rest.startswith("/*"):
        return "this comment does not end"
    kind = "bracket" if rest[0] in "()[]{}" else "quote"
    return f"this {kind} has no counterpart"


def _nearest(name: str, columns: Collection[str]) -> str | None:
    by_lower = {column.lower(): column for column in sorted(columns)}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.65)
    return by_lower[near[0]] if near else None
