"""The route /api/rows: all rows of a table in the order of a column, page by page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from cliphouse.search.listing import MOST_ROWS, Listing, Start
from cliphouse.server.api import service_of
from cliphouse.server.column_models import MAX_CONTAINED
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.filtered import Filtered
from cliphouse.server.schema import Name
from cliphouse.server.strict import Strict

router = APIRouter(prefix="/api", responses=RESPONSES)
ColumnName = Annotated[str, Field(min_length=1, max_length=200)]


class StartBody(Strict):
    """The place in the order before the first row with ``value`` or a later one; null stands for
    the rows without a value, which come last."""

    value: Annotated[str, Field(max_length=4000)] | int | float | None


class RowsBody(Filtered):
    """Which rows to list, and in which order: ``k`` rows after the place that ``cursor`` marks,
    with the columns ``fields``, by the column ``sort``, or by the largest value first with a minus
    before it. Without a cursor the list begins at ``start``, or with ``before`` goes back from
    there, the nearest row first. The caption, name, title or keywords of a row must have each word
    of ``mention``."""

    sort: Annotated[str, Field(min_length=1, max_length=201)] = "id"
    k: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 100
    fields: list[ColumnName] = Field(["url", "caption"], max_length=100)
    cursor: Annotated[str, Field(max_length=20_000)] | None = None
    start: StartBody | None = None
    before: bool = False
    mention: Annotated[str, Field(max_length=MAX_CONTAINED)] = ""
    table: Name | None = None

    def to_listing(self) -> Listing:
        """Make the Listing. Raises QueryError if a value of the filter is wrong."""
        start = Start(self.start.value) if self.start else None
        return Listing(
            *(self.k, self.sort, self.to_filter(), self.fields, self.cursor),
            start=start,
            is_before=self.before,
            mention=self.mention,
        )


class RowsAnswer(BaseModel):
    """Rows with their id and the columns that were asked for. ``cursor`` leads to the next page; it
    is null at the end."""

    rows: list[dict[str, object]]
    cursor: str | None


@router.post("/rows", response_model=None, responses={200: {"model": RowsAnswer}})
async def rows(request: Request, body: RowsBody) -> Response:
    """List rows in the order of a column, without a query. Those without a value come last."""
    page = await service_of(request).rows(body.table, body.to_listing())
    return json_answer({"rows": page.rows, "cursor": page.cursor})
