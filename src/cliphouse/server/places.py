"""The route /api/places: where on a map the rows of a table are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from cliphouse.search.places import Box, list_places
from cliphouse.server.api import service_of
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.filtered import Filtered
from cliphouse.server.schema import Name
from cliphouse.server.strict import Strict

router = APIRouter(prefix="/api", responses=RESPONSES)
_Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
_Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class BoxBody(Strict):
    """A part of the world, in degrees; north and east are positive."""

    south: _Latitude = -90
    west: _Longitude = -180
    north: _Latitude = 90
    east: _Longitude = 180


class PlacesBody(Filtered):
    """The part of the world, the side of the cells by which rows are clustered, in degrees, and the
    filter that rows must meet."""

    box: BoxBody = BoxBody()
    cell: Annotated[float, Field(ge=0.0001, le=90, allow_inf_nan=False)] = 10
    table: Name | None = None


class PlaceAnswer(BaseModel):
    """A cluster of rows within ``box``, around ``latitude`` and ``longitude``; ``picture`` is one
    of them."""

    latitude: float
    longitude: float
    rows: int
    box: BoxBody
    picture: dict[str, object]


class PlacesAnswer(BaseModel):
    """The 500 largest clusters, the largest first."""

    places: list[PlaceAnswer]


@router.post("/places", response_model=None, responses={200: {"model": PlacesAnswer}})
async def places(request: Request, body: PlacesBody) -> Response:
    """Cluster the rows of a table by where they were taken."""
    filter = body.to_filter()
    box = Box(**body.box.model_dump())
    found = await service_of(request).read(
        body.table, lambda one: list_places(one.handle, box, body.cell, filter)
    )
    return json_answer({"places": [asdict(place) for place in found]})
