"""Turns errors into responses: a status and JSON that says what is wrong, never HTML."""

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
from cliphouse.json_text import to_json_bytes

log = logging.getLogger("cliphouse.server")


class ErrorDetail(BaseModel):
    """``message`` is one line for people. ``type`` is a code for programs."""

    message: str = Field(examples=["k is 0; it must be 1 to 10,000"])
    type: str = Field(examples=["query"])


class ErrorAnswer(BaseModel):
    """The body of every error response."""

    error: ErrorDetail


_MEANINGS = {
    400: "The table does not allow this request, or a picture cannot be read",
    401: "The API key is missing or wrong",
    404: "There is no such table, row, picture or route",
    408: "The request's body did not arrive in time",
    413: "The request's body is too large",
    415: "The route does not accept the content type of the request's body",
    422: "The request does not have the form that this document describes",
    429: "This client exceeds the rate limit; Retry-After says when to try again",
    502: "The database failed; the service's log says why",
    503: "The service is overloaded, or the database does not answer; "
    "Retry-After says when to try again",
}
FAULT = "internal"  # the code of an unexpected exception
_RETRY_SECONDS = 5
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _MEANINGS.items()
}


def json_answer(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Build a JSON response."""
    return Response(to_json_bytes(document), status, headers, media_type="application/json")


def refuse(
    status: int, message: str, code: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Build an error response."""
    return json_answer({"error": {"message": message, "type": code}}, status, headers)


def answer_error(error: CliphouseError) -> Response:
    """Build the response for an error of cliphouse. Log it if the client is not its cause."""
    code = error.code
    if isinstance(error, OverloadError):
        return refuse(503, str(error), code, {"Retry-After": str(error.retry_after)})
    if isinstance(error, MissingError):
        return refuse(404, str(error), code)
    if isinstance(error, UserError):
        return refuse(400, str(error), code)
    log.error("%s: %s", code, error)
    if isinstance(error, UnreachableError):
        message = "the database does not answer; the service's log says why"
        return refuse(503, message, code, {"Retry-After": str(_RETRY_SECONDS)})
    if isinstance(error, EngineError):
        return refuse(502, "the database failed; the service's log says why", code)
    return refuse(500, "the service failed; its log says why", code)


def handle_failures(app: FastAPI) -> None:
    """Register the error handlers of ``app``. ObserveMiddleware handles unexpected exceptions."""

    @app.exception_handler(CliphouseError)
    async def cliphouse_error(request: Request, error: CliphouseError) -> Response:
        request.app.state.service.metrics.errors.labels(error.code).inc()
        return answer_error(error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        return refuse(422, _first(error), "request")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        message = str(error.detail)
        if message == phrase:  # the framework's text adds nothing to the status
            message = f"{phrase.lower()}: see /openapi.json for the routes"
        code = phrase.lower().replace(" ", "_")
        return refuse(error.status_code, message, code, error.headers)


def _first(error: RequestValidationError) -> str:
    """The first problem and the name of its field, without the value that was sent."""
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"] if step != "body")
    return f"{place}: {first['msg']}" if place else str(first["msg"])
