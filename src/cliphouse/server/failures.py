"""What becomes of an error: a status, and JSON that says what is wrong, never a page of HTML."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cliphouse.errors import (
    CliphouseError,
    EngineError,
    MissingError,
    OverloadError,
    UnreachableError,
    UserError,
)
from cliphouse.json_text import to_json

log = logging.getLogger("cliphouse.server")


class ErrorDetail(BaseModel):
    """``message`` is one line for people, ``type`` the error's code, for programs."""

    message: str = Field(examples=["k is 0; it must be 1 to 10,000"])
    type: str = Field(examples=["query"])


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


_MEANINGS = {
    400: "What is asked cannot be asked of this table, or a picture cannot be read",
    401: "The API key is missing or wrong",
    404: "There is no such table, row, picture or address",
    408: "The request's body did not arrive in time",
    413: "The request's body is too large",
    415: "The request's body has another content type than this route takes",
    422: "The request does not have the form that this document describes",
    429: "This client asks too often; Retry-After says when to ask again",
    502: "The database failed; the service's log says why",
    503: "There is more to do than the service takes on, or the database does not answer; "
    "Retry-After says when to ask again",
}
FAULT = "internal"  # the code of what is no error of ours, but a fault
_AWAY_SECONDS = 5
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _MEANINGS.items()
}


def json_answer(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """``document`` as JSON."""
    return Response(to_json(document), status, headers, media_type="application/json")


def refuse(
    status: int, message: str, code: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that is an error."""
    return json_answer({"error": {"message": message, "type": code}}, status, headers)


def answer_error(error: CliphouseError) -> Response:
    """One of our errors as an answer."""
    code = error.code
    if isinstance(error, OverloadError):
        return refuse(503, str(error), code, {"Retry-After": str(error.retry_after)})
    if isinstance(error, MissingError):
        return refuse(404, str(error), code)
    if isinstance(error, UserError):
        return refuse(400, str(error), code)
    log.error("%s: %s", code, error)
    if isinstance(error, UnreachableError):
        away = "the database does not answer; the service's log says why"
        return refuse(503, away, code, {"Retry-After": str(_AWAY_SECONDS)})
    if isinstance(error, EngineError):
        return refuse(502, "the database failed; the service's log says why", code)
    return refuse(500, "the service failed; its log says why", code)


def handle_failures(app: FastAPI) -> None:
    """Let ``app`` answer all errors so; those of no known kind are the outermost layer's."""

    @app.exception_handler(CliphouseError)
    async def ours(request: Request, error: CliphouseError) -> Response:
        request.app.state.service.metrics.errors.labels(error.code).inc()
        return answer_error(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        return refuse(422, _first(error), "request")

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        told = str(error.detail)
        if told == phrase:  # the framework's own words say no more than the number
            told = f"{phrase.lower()}: /openapi.json lists what there is"
        code = phrase.lower().replace(" ", "_")
        return refuse(error.status_code, told, code, error.headers)


def _first(error: RequestValidationError) -> str:
    """The first thing that is wrong and where, without what was given."""
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"] if step != "body")
    return f"{place}: {first['msg']}" if place else str(first["msg"])
