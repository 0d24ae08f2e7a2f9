"""A search as one statement with all its values written into it, to be copied and run by hand."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from cliphouse.engine.features import USE_INDEX
from cliphouse.engine.quoting import identifier, quote
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import DISTANCE
from cliphouse.search.condition import Condition
from cliphouse.search.filter import Filter
from cliphouse.search.results import hit_fields
from cliphouse.vocabulary import Metric, Modality, Precision

_PARAMETER = re.compile(r"\{(\w+):([^{}]+)\}")


@dataclass(frozen=True)
class Spelled:
    """One thing searched for, and its weight: words, a picture's file, a row or a vector."""

    words: str | None = None
    picture: str | None = None
    id: int | None = None
    vector: Sequence[float] | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Target:
    """The table that is searched: its name, its columns and how it keeps its vectors, and whether
    its user may forbid the use of an index (a second sort key keeps it out all the same)."""

    table: str
    columns: Collection[str]
    modality: Modality
    precision: Precision
    may_forbid_index: bool = True


def literal_sql(
    target: Target,
    parts: Sequence[Spelled],
    k: int,
    metric: Metric = "cosine",
    filter: Filter | None = None,
) -> str:
    """The exact search for ``parts`` as a statement without parameters, for ``cliphouse sql``.

    Of several parts each is scaled to length 1, weighted and summed, as a search does it.
    """
    named = [(f"part_{n}", part) for n, part in enumerate(parts, 1)]
    bindings = [f"{_vector(part, target)} AS {name}" for name, part in named]
    if len(parts) == 1:
        searched = named[0][0]
    else:
        terms = [f"{part.weight!r} * v{n} / L2Norm({name})" for n, (name, part) in enumerate(named)]
        variables = ", ".join(f"v{n}" for n in range(len(named)))
        listed = ", ".join(name for name, _ in named)
        bindings.append(f"arrayMap(({variables}) -> {' + '.join(terms)}, {listed}) AS target")
        searched = "target"
    if target.precision == "bfloat16":
        searched = f"CAST({searched}, 'Array(BFloat16)')"
    column = embedding_column(target.modality)
    distance = f"{DISTANCE[metric]}({column}, {searched})"
    chosen = ["id", f"1 - cosineDistance({column}, {searched}) AS match"]
    shown = [field.column for field in hit_fields() if field.column == field.name]
    chosen += [name for name in shown if name in target.columns]
    condition = written_out(filter.condition(target.columns)) if filter else ""
    listed_bindings = ",\n    ".join(bindings)
    return (
        f"WITH\n    {listed_bindings}\n"
        f"SELECT {', '.join(chosen)}\nFROM {identifier(target.table)}\n"
        + (f"WHERE {condition}\n" if condition else "")
        + f"ORDER BY {distance} ASC, id ASC\nLIMIT {k}"
        + (f"\nSETTINGS {USE_INDEX} = 0" if target.may_forbid_index else "")
    )


def written_out(condition: Condition) -> str:
    """A condition with its parameters' values as literals."""

    def literal(match: re.Match[str]) -> str:
        text = _literal(condition.parameters[match[1]])
        # A bound is compared as the number of 32 bits that a search compares.
        return f"toFloat32({text})" if match[2] == "Float32" else text

    return _PARAMETER.sub(literal, condition.sql)


def _vector(part: Spelled, target: Target) -> str:
    if part.words is not None:
        return f"encode_text({quote(part.words)})"
    if part.picture is not None:
        return f"encode_image({quote(part.picture)})"
    if part.id is not None:
        column = embedding_column(target.modality)
        row = f"SELECT CAST({column}, 'Array(Float32)') FROM {identifier(target.table)}"
        return f"({row} WHERE id = {part.id})"
    return f"CAST({_literal(list(part.vector or ()))}, 'Array(Float32)')"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)
