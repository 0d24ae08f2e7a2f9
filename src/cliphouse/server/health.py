"""Routes for monitoring: /health, /health/live and /metrics."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from cliphouse.server.api import service_of
from cliphouse.server.failures import json_answer
from cliphouse.server.metrics import CONTENT_TYPE

router = APIRouter()


class HealthAnswer(BaseModel):
    """``ready`` if searches are answered, ``waiting`` while the service starts or stops, and
    ``failing`` if the database cannot be read, with the ``reason``."""

    status: Literal["ready", "waiting", "failing", "alive"]
    reason: str | None = None


@router.get("/health", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}})
async def ready(request: Request) -> Response:
    """Report whether the service answers searches: it reads a row of every table."""
    if not service_of(request).is_ready:
        return json_answer({"status": "waiting"}, 503, {"Retry-After": "2"})
    if reason := await request.app.state.pulse.trouble():
        return json_answer({"status": "failing", "reason": reason}, 503, {"Retry-After": "2"})
    return json_answer({"status": "ready"})


@router.get("/health/live", response_model_exclude_none=True)
async def live() -> HealthAnswer:
    """Report that the process runs."""
    return HealthAnswer(status="alive")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus's text format"}},
)
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus: the time of each step, errors, and the length of the queue."""
    return Response(service_of(request).metrics.exposition(), media_type=CONTENT_TYPE)
