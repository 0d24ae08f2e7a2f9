"""The models of request and response bodies, with the limits of each field."""

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
    """A query: one of these fields, or several that are summed."""

    words: Words | None = Field(None, examples=["a red circle"])
    picture: str | None = Field(None, description="A picture file in base64")
    picture_url: Annotated[str, Field(max_length=4000)] | None = Field(
        None, description="The URL of a picture. The service fetches it, from public addresses only"
    )
    vector: Annotated[list[Number], Field(min_length=1, max_length=16_384)] | None = Field(
        None, description="A vector with the dimension of the table"
    )
    id: Id | None = Field(None, description="The id of a row, whose embedding becomes the query")


class OperandBody(Part):
    """One part of a query and its weight, which is negative to subtract it."""

    weight: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = 1.0

    def to_operand(self) -> Operand:
        """Make the Operand. Raises QueryError unless exactly one field is set."""
        return operand_from_json(self.model_dump(exclude_none=True))


class Options(RequestBody):
    """The search options: the fields of Request, and the table."""

    table: Name | None = Field(None, description="The first served table by default")
    count: bool = Field(
        False, description="Count the rows read; null if other requests ran at the same time"
    )


class QueryBody(Part):
    """A query: one or more of the fields, with a weight of 1, and operands with weights."""

    operands: list[OperandBody] = Field([], max_length=MAX_OPERANDS)

    def to_operands(self) -> tuple[Operand, ...]:
        """All operands of the sum. Raises QueryError if an operand is empty or ambiguous."""
        named = self.model_dump(include=set(KINDS), exclude_none=True)
        return (
            *(operand_from_json({kind: value}) for kind, value in named.items()),
            *(operand.to_operand() for operand in self.operands),
        )


class SearchBody(QueryBody, Options):
    """A search: a query and its options."""


class BatchBody(Options):
    """Several queries with the same options."""

    queries: Annotated[list[QueryBody], Field(min_length=1, max_length=MAX_BATCH)]


class SearchAnswer(BaseModel):
    """The hits, nearest first unless ``sort`` orders them. ``cursor`` leads to the next page; it is
    null at the end."""

    hits: list[HitAnswer]
    search: SearchStats
    cursor: str | None


class BatchAnswer(BaseModel):
    """A result for each query, in the order of the queries."""

    results: list[SearchAnswer]


class InfoAnswer(BaseModel):
    """The tables, and a description of one of them.

    ``tables`` are the names that a search accepts; the first is the default. ``summary`` is what
    ``cliphouse info --json`` prints. ``fields`` are the filters, statistics and modes on offer.
    ``places`` says whether any row knows where it was taken.
    """

    version: str
    tables: list[str]
    summary: dict[str, object]
    fields: FieldsAnswer
    places: bool
