"""The route /api/groups: by which months or folders a list of rows can be divided."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from cliphouse.search.groups import list_groups
from cliphouse.server.api import service_of
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.filtered import Filtered
from cliphouse.server.schema import Name

router = APIRouter(prefix="/api", responses=RESPONSES)


class GroupsBody(Filtered):
    """The column to group by, of texts or of times, and the filter that rows must meet."""

    column: Annotated[str, Field(min_length=1, max_length=200)]
    table: Name | None = None


class GroupAnswer(BaseModel):
    """Rows with the same value: a text, or a month as in 2019-03; null if they have none. ``first``
    is the least of their ids."""

    value: str | None
    rows: int
    first: int


class GroupsAnswer(BaseModel):
    """The groups in the order of their values. ``are_all`` is false if there are more than the
    5,000 that are listed."""

    groups: list[GroupAnswer]
    are_all: bool


@router.post("/groups", response_model=None, responses={200: {"model": GroupsAnswer}})
async def groups(request: Request, body: GroupsBody) -> Response:
    """Count rows by the months of a time, or by the values of a text such as the folder."""
    filter = body.to_filter()
    found = await service_of(request).read(
        body.table, lambda one: list_groups(one.handle, body.column, filter)
    )
    return json_answer(asdict(found))
