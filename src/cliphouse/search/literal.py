"""A search as one statement with all its values written into it, to be copied and run by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cliphouse.engine.features import USE_INDEX
from cliphouse.engine.quoting import identifier, quote
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import DISTANCE, TableFacts
from cliphouse.search.condition import SCORE, Condition
from cliphouse.search.query.content import read_vector
from cliphouse.search.query.operand import Operand, require_positive
from cliphouse.search.request import Request
from cliphouse.search.statement import condition_of, is_cut, order_of, shown_fields
from cliphouse.vocabulary import Modality

_PARAMETER = re.compile(r"\{(\w+):([^{}]+)\}")
PICTURE = "picture.jpg"  # what stands for a picture that is not a file here
_SAID = ("modality", "where", "metric", "filter", "min_score")


def literal_sql(facts: TableFacts, operands: Sequence[Operand], request: Request) -> str:
    """The exact search for ``operands`` as a statement without parameters, for ``cliphouse sql``.

    Of several each is scaled to length 1, weighted and summed, as a search does it. What the
    statement does not do is named by ``left_out``.

    Raises QueryError if nothing is searched for, and as condition_of does.
    """
    require_positive(operands)
    bindings, searched = _searched(facts, operands, request.modality)
    if facts.info.precision == "bfloat16":
        searched = f"CAST({searched}, 'Array(BFloat16)')"
    column = embedding_column(request.modality)
    distance = f"{DISTANCE[request.metric]}({column}, {searched})"
    chosen = ["id", f"1 - cosineDistance({column}, {searched}) AS score"]
    shown = shown_fields(facts, request)
    chosen += [field.quoted for field in shown if field.name in facts.columns]
    where = " AND ".join(_terms(request, facts, distance))
    lines = [
        "WITH",
        "    " + ",\n    ".join(bindings),
        f"SELECT {', '.join(chosen)}",
        f"FROM {identifier(facts.placement.table)}",
        *([f"WHERE {where}"] if where else []),
        f"ORDER BY {distance} ASC, id ASC",
        f"LIMIT {request.k}" + (f" OFFSET {request.offset}" if request.offset else ""),
        # A second sort key keeps an index out all the same.
        *([f"SETTINGS {USE_INDEX} = 0"] if facts.features.may_set(USE_INDEX, 0) else []),
    ]
    order = order_of(facts, request)
    if order is not None:
        lines = ["SELECT * FROM (", *lines, f") ORDER BY {order.sql}, score DESC, id ASC"]
    return "\n".join(lines)


def left_out(request: Request) -> dict[str, Any]:
    """What ``request`` asks for that the statement of literal_sql does not do. It is an exact
    search, whatever the mode."""
    return {o.name: value for o, value in request.given() if o.alike and o.name not in _SAID}


def written_out(condition: Condition) -> str:
    """A condition with its parameters' values as literals."""

    def literal(match: re.Match[str]) -> str:
        if match[1] not in condition.parameters:
            return match[0]  # of a condition that a user typed
        text = _literal(condition.parameters[match[1]])
        # A bound is compared as the number of 32 bits that a search compares.
        return f"toFloat32({text})" if match[2] == "Float32" else text

    return _PARAMETER.sub(literal, condition.sql)


def _searched(
    facts: TableFacts, operands: Sequence[Operand], modality: Modality
) -> tuple[list[str], str]:
    """Named vectors for the operands, and the name of their sum."""
    names = [f"part_{n}" for n, _ in enumerate(operands, 1)]
    bindings = [
        f"{_vector(operand, facts, modality)} AS {name}"
        for operand, name in zip(operands, names, strict=True)
    ]
    if len(operands) == 1:
        return bindings, names[0]
    terms = [
        f"{operand.weight!r} * v{n} / L2Norm({name})"
        for n, (operand, name) in enumerate(zip(operands, names, strict=True))
    ]
    variables = ", ".join(f"v{n}" for n, _ in enumerate(operands))
    total = f"arrayMap(({variables}) -> {' + '.join(terms)}, {', '.join(names)}) AS target"
    return [*bindings, total], "target"


def _terms(request: Request, facts: TableFacts, distance: str) -> Iterator[str]:
    condition = condition_of(request, facts)
    if condition is not None:
        yield written_out(condition)
    if is_cut(request):
        yield f"{SCORE} >= {request.min_score!r}"
    if request.cursor is not None:
        yield f"({distance}, id) > ({request.cursor.distance!r}, {request.cursor.id})"


def _vector(operand: Operand, facts: TableFacts, modality: Modality) -> str:
    if operand.words is not None:
        return f"encode_text({quote(operand.words)})"
    if operand.id is not None:
        column = embedding_column(modality)
        row = f"SELECT CAST({column}, 'Array(Float32)') FROM {identifier(facts.placement.table)}"
        return f"({row} WHERE id = {operand.id})"
    if operand.vector is not None:
        numbers = read_vector(operand).ravel().astype(float).tolist()
        return f"CAST({_literal(numbers)}, 'Array(Float32)')"
    is_file = isinstance(operand.picture, str | Path)
    return f"encode_image({quote(str(operand.picture) if is_file else PICTURE)})"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)
