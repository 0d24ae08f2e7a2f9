"""/api: searching, rows and what a table holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response

import cliphouse
from cliphouse.errors import MissingError
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
TableName = Annotated[Name | None, Query(description="By default the first that is served")]


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.post("/search", response_model=None, responses={200: {"model": SearchAnswer}})
async def search(request: Request, body: SearchBody) -> Response:
    """Find the rows nearest to words, a picture, a vector, a row, or a sum of these."""
    found = await service_of(request).search(
        body.table, body.to_operands(), body.to_request(), body.count
    )
    return _answer(found)


@router.post("/search/upload", response_model=None, responses={200: {"model": SearchAnswer}})
async def search_by_upload(
    request: Request,
    picture: Annotated[UploadFile, File(description="A picture's file")],
    options: Annotated[
        str, Form(description="The body of /api/search as JSON: how to search, and what else for")
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
    """Several searches at once, asked alike; words are encoded together."""
    queries = [asked.to_operands() for asked in body.queries]
    results = await service_of(request).search_many(
        body.table, queries, body.to_request(), body.count
    )
    return json_answer({"results": [result.to_dict() for result in results]})


@router.get("/items/{id}", response_model=None, responses={200: {"model": dict[str, object]}})
async def item(request: Request, id: Id, table: TableName = None) -> Response:
    """A row: all its columns but the embeddings."""
    service = service_of(request)
    rows = await service.items(table, [id])
    if not rows:
        raise MissingError(f"table {service.resolve(table)} has no row {id}")
    return json_answer(rows[0])


@router.get("/items/{id}/neighbours", response_model=None, responses={200: {"model": SearchAnswer}})
async def neighbours(
    request: Request,
    id: Id,
    table: TableName = None,
    k: Annotated[int, Query(ge=1, le=MAX_DEPTH - 1)] = 10,
    modality: Modality = "image",
) -> Response:
    """The rows nearest to a row, itself not among them."""
    service = service_of(request)
    if not await service.items(table, [id]):
        raise MissingError(f"table {service.resolve(table)} has no row {id}")
    how = SearchRequest(modality=modality, k=k + 1)
    found = (await service.search(table, (Operand(id=id),), how)).to_dict()
    found["hits"] = [hit for hit in found["hits"] if hit["id"] != id][:k]
    return json_answer(found | {"cursor": None})


@router.get("/info", response_model=None, responses={200: {"model": InfoAnswer}})
async def info(request: Request, table: TableName = None) -> Response:
    """The tables there are, and what one of them holds."""
    service = service_of(request)
    # Where its files lie is the owner's own matter.
    summary = asdict(await service.info(table)) | {"database": ""}
    return json_answer(
        {
            "version": cliphouse.__version__,
            "tables": service.tables,
            "summary": summary,
            "fields": describe_fields().model_dump(),
        }
    )


def _answer(result: SearchResult) -> Response:
    return json_answer(result.to_dict())
