"""The bodies of requests and answers: what may be asked, within which bounds."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from cliphouse.errors import QueryError
from cliphouse.search.results import SearchStats
from cliphouse.server.column_models import FilterBody, HitAnswer
from cliphouse.server.fields import FieldsAnswer
from cliphouse.server.query import QueryPart, SearchQuery
from cliphouse.server.settings import MAX_DEPTH, MAX_OPERANDS
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

    def to_part(self) -> QueryPart:
        """Raises QueryError where it is none, or more than one."""
        return QueryPart(
            self.words,
            None if self.picture is None else decode_picture(self.picture),
            self.picture_url,
            None if self.vector is None else tuple(self.vector),
            self.id,
            self.weight,
        )


class Options(Strict):
    """How to search."""

    table: Name | None = Field(None, description="By default the first that is served")
    modality: Literal["image", "text"] = Field("image", description="Which embeddings to search")
    k: Annotated[int, Field(ge=1, le=MAX_DEPTH)] = 10
    offset: Annotated[int, Field(ge=0, le=MAX_DEPTH)] = 0
    cursor: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="That of an earlier answer, to go on after it"
    )
    filter: FilterBody | None = None
    metric: Literal["cosine", "l2"] = "cosine"
    mode: Literal["auto", "exact", "codes", "hnsw"] = "auto"
    ef: Annotated[int, Field(ge=1, le=10_000)] | None = None
    oversampling: Annotated[int, Field(ge=1, le=1000)] | None = None
    dedup: Annotated[float, Field(ge=0.5, le=1)] | None = Field(
        None, description="Leave out rows of this cosine similarity to a nearer one; 0.94 is usual"
    )
    count: bool = Field(
        False, description="Count the rows read; null where other requests ran at the same time"
    )

    def to_query(self, asked: QueryBody, more: tuple[QueryPart, ...] = ()) -> SearchQuery:
        """The search for ``asked`` and ``more``. Raises QueryError where nothing is asked."""
        return SearchQuery(
            words=asked.words,
            picture=None if asked.picture is None else decode_picture(asked.picture),
            picture_url=asked.picture_url,
            vector=None if asked.vector is None else tuple(asked.vector),
            id=asked.id,
            operands=(*(operand.to_part() for operand in asked.operands), *more),
            modality=self.modality,
            k=self.k,
            offset=self.offset,
            cursor=self.cursor,
            filter=None if self.filter is None else self.filter.to_filter(),
            metric=self.metric,
            mode=self.mode,
            ef=self.ef,
            oversampling=self.oversampling,
            dedup=self.dedup,
            count=self.count,
        )


class QueryBody(Part):
    """A query: one or more of the fields, with a weight of 1, and operands with weights."""

    operands: list[OperandBody] = Field([], max_length=MAX_OPERANDS)


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


def decode_picture(text: str) -> bytes:
    """The bytes of a picture in base64, also as a data: URL. Raises QueryError where it is none."""
    head, separator, rest = text.partition(",")
    data = rest if separator and head.startswith("data:") else text
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise QueryError("the picture is not in base64") from None
