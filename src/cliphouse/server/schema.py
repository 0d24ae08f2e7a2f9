"""The bodies of requests and answers: what may be asked, within which bounds."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from cliphouse.search.query.operand import KINDS, Operand
from cliphouse.search.query.wire import operand_from_json
from cliphouse.search.results import SearchStats
from cliphouse.server.column_models import HitAnswer
from cliphouse.server.fields import FieldsAnswer
from cliphouse.server.request_model import RequestBody
from cliphouse.server.settings import MAX_OPERANDS
from cliphouse.server.strict import Strict
from cliphouse.vocabulary import MAX_BATCH

_INT64 = 2**63
Id = Annotated[int, Field(ge=-_INT64, lt=_INT64)]
Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Words = Annotated[str, Field(min_length=1, max_length=4000)]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class Part(Strict):
    """What is searched for: one of these, or several that are summed."""

    words: Words | None = Field(None, examples=["a red circle"])
    picture: str | None = Field(None, description="A picture's file in base64")
    picture_url: Annotated[str, Field(max_length=4000)] | None = Field(
        None, description="Fetched by the service, from public addresses only"
    )
    vector: Annotated[list[Number], Field(min_length=1, max_length=16_384)] | None = Field(
        None, description="As many numbers as the table has dimensions"
    )
    id: Id | None = Field(None, description="A row, by its own embedding")


class OperandBody(Part):
    """Exactly one thing, and its weight: negative to get away from it."""

    weight: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = 1.0

    def to_operand(self) -> Operand:
        """Raises QueryError if it is none, or more than one."""
        return operand_from_json(self.model_dump(exclude_none=True))


class Options(RequestBody):
    """How to search: the fields of Request, and of which table."""

    table: Name | None = Field(None, description="By default the first that is served")
    count: bool = Field(
        False, description="Count the rows read; null where other requests ran at the same time"
    )


class QueryBody(Part):
    """A query: one or more of the fields, with a weight of 1, and operands with weights."""

    operands: list[OperandBody] = Field([], max_length=MAX_OPERANDS)

    def to_operands(self) -> tuple[Operand, ...]:
        """Everything that is summed. Raises QueryError if an operand is none."""
        named = self.model_dump(include=set(KINDS), exclude_none=True)
        return (
            *(operand_from_json({kind: value}) for kind, value in named.items()),
            *(operand.to_operand() for operand in self.operands),
        )


class SearchBody(QueryBody, Options):
    """A search."""


class BatchBody(Options):
    """Several searches asked alike."""

    queries: Annotated[list[QueryBody], Field(min_length=1, max_length=MAX_BATCH)]


class SearchAnswer(BaseModel):
    """What was found, nearest first; ``cursor`` goes on after it, null at the end."""

    hits: list[HitAnswer]
    search: SearchStats
    cursor: str | None


class BatchAnswer(BaseModel):
    """An answer for each query, in their order."""

    results: list[SearchAnswer]


class InfoAnswer(BaseModel):
    """``tables`` are the names that a search may give, the first the default; ``summary`` is what
    ``cliphouse info --json`` prints of one, and ``fields`` what can be asked of its columns."""

    version: str
    tables: list[str]
    summary: dict[str, object]
    fields: FieldsAnswer
