"""The route /api/facets: counts by value of columns, for the filters of a search."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from cliphouse.inspection.facets import MOST_VALUES
from cliphouse.inspection.statistics import Bin
from cliphouse.server.api import service_of
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.filtered import Filtered
from cliphouse.server.schema import Name

router = APIRouter(prefix="/api", responses=RESPONSES)
_Column = Annotated[str, Field(min_length=1, max_length=200)]


class FacetsBody(Filtered):
    """The columns to count, and the filter that rows must meet. ``values`` is the most values of a
    column that the answer lists."""

    columns: Annotated[list[_Column], Field(min_length=1, max_length=20)]
    values: Annotated[int, Field(ge=1, le=MOST_VALUES)] = 20
    table: Name | None = None


class ValueAnswer(BaseModel):
    """How many rows have the value."""

    value: Any
    rows: int


class FacetAnswer(BaseModel):
    """The values of a column. Text, booleans and lists have ``values``, the most frequent first,
    and ``others``, the rows with any other value. Numbers and times have ``bins`` of equal width;
    times are seconds since 1970. ``nulls`` counts the rows without a value."""

    column: str
    values: list[ValueAnswer]
    others: int
    bins: list[Bin]
    nulls: int


class FacetsAnswer(BaseModel):
    """A facet for each column that was asked for."""

    facets: list[FacetAnswer]


@router.post("/facets", response_model=None, responses={200: {"model": FacetsAnswer}})
async def facets(request: Request, body: FacetsBody) -> Response:
    """Count the rows that meet a filter by the values of some columns."""
    options = body.to_request()
    found = await service_of(request).read(
        body.table, lambda table: table.facets(body.columns, options, body.values)
    )
    return json_answer({"facets": [asdict(facet) for facet in found]})
