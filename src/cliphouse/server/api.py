"""Routes under /api: search, rows and the description of a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response

import cliphouse
from cliphouse.errors import MissingError
from cliphouse.inspection.summary import summarise
from cliphouse.schema.handle import TableHandle
from cliphouse.search.places import one_has_place
from cliphouse.search.query.operand import Operand
from cliphouse.search.request import Request as SearchRequest
from cliphouse.search.results import SearchResult
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.fields import describe_fields
from cliphouse.server.schema import (
    BatchAnswer,
    BatchBody,
    Id,
    InfoAnswer,
    Name,
    SearchAnswer,
    SearchBody,
)
from cliphouse.server.service import Service
from cliphouse.server.settings import MAX_DEPTH
from cliphouse.vocabulary import Modality

router = APIRouter(prefix="/api", responses=RESPONSES)
# Links of the OpenAPI document, from an answer's first hit to what is known of that row.
_LINKS = {
    name: {
        "operationRef": f"#/paths/{path.replace('/', '~1')}/get",
        "parameters": {"id": "$response.body#/hits/0/id"},
    }
    for name, path in (("item", "/api/items/{id}"), ("neighbours", "/api/items/{id}/neighbours"))
}
_HITS: dict[int | str, dict[str, Any]] = {200: {"model": SearchAnswer, "links": _LINKS}}
TableName = Annotated[Name | None, Query(description="The first served table by default")]


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.post("/search", response_model=None, responses=_HITS)
async def search(request: Request, body: SearchBody) -> Response:
    """Find the rows nearest to words, a picture, a vector, a row, or a weighted sum of these."""
    found = await service_of(request).search(
        body.table, body.to_operands(), body.to_request(), body.count
    )
    return _answer(found)


@router.post("/search/upload", response_model=None, responses=_HITS)
async def search_by_upload(
    request: Request,
    picture: Annotated[UploadFile, File(description="The picture file")],
    options: Annotated[
        str, Form(description="The body of /api/search as JSON: options and further operands")
    ] = "{}",
) -> Response:
    """Find the rows nearest to an uploaded picture."""
    try:
        body = SearchBody.model_validate_json(options)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False)) from error
    operands = (*body.to_operands(), Operand(picture=await picture.read()))
    found = await service_of(request).search(body.table, operands, body.to_request(), body.count)
    return _answer(found)


@router.post("/search/batch", response_model=None, responses={200: {"model": BatchAnswer}})
async def search_batch(request: Request, body: BatchBody) -> Response:
    """Run several searches with the same options. Words are encoded in one batch."""
    queries = [query.to_operands() for query in body.queries]
    results = await service_of(request).search_many(
        body.table, queries, body.to_request(), body.count
    )
    return json_answer({"results": [result.to_dict() for result in results]})


@router.get("/items/{id}", response_model=None, responses={200: {"model": dict[str, object]}})
async def item(request: Request, id: Id, table: TableName = None) -> Response:
    """Get a row: all its columns except the embeddings."""
    service = service_of(request)
    rows = await service.items(table, [id])
    if not rows:
        raise MissingError(f"table {service.resolve(table)} has no row {id}")
    return json_answer(rows[0])


@router.get("/items/{id}/neighbours", response_model=None, responses=_HITS)
async def neighbours(
    request: Request,
    id: Id,
    table: TableName = None,
    k: Annotated[int, Query(ge=1, le=MAX_DEPTH - 1)] = 10,
    modality: Modality = "image",
) -> Response:
    """Find the rows nearest to a row, without the row itself."""
    service = service_of(request)
    if not await service.items(table, [id]):
        raise MissingError(f"table {service.resolve(table)} has no row {id}")
    options = SearchRequest(modality=modality, k=k + 1)
    found = (await service.search(table, (Operand(id=id),), options)).to_dict()
    found["hits"] = [hit for hit in found["hits"] if hit["id"] != id][:k]
    return json_answer(found | {"cursor": None})


@router.get("/info", response_model=None, responses={200: {"model": InfoAnswer}})
async def info(request: Request, table: TableName = None) -> Response:
    """List the tables, and describe one of them."""
    return json_answer(await describe(service_of(request), table))


async def describe(service: Service, table: str | None) -> dict[str, Any]:
    """The answer of /api/info."""
    answer = await service.read(table, lambda one: _describe(service, one.handle))
    rows, disk_bytes = (answer["summary"][name] for name in ("rows", "disk_bytes"))
    service.empty_columns.renew(
        service.resolve(table), rows, disk_bytes, lambda look: service.read(table, look)
    )
    return answer


def _describe(service: Service, table: TableHandle) -> dict[str, Any]:
    """The answer of /api/info, without the path or the address of the database."""
    described = summarise(table)
    empty = service.empty_columns.known(table.name)
    return {
        "version": cliphouse.__version__,
        "tables": service.tables,
        "summary": asdict(described) | {"database": ""},
        "fields": describe_fields(there=described.columns, empty=empty).model_dump(),
        "places": one_has_place(table),
    }


def _answer(result: SearchResult) -> Response:
    return json_answer(result.to_dict())
