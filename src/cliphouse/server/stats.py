"""/api/stats: what a table's rows are like, counted anew every few minutes at most."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from cliphouse.inspection.statistics import TableStatistics
from cliphouse.server.api import TableName, service_of
from cliphouse.server.column_models import StatisticsAnswer
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.service import Service

router = APIRouter(prefix="/api", responses=RESPONSES)
_KEPT_SECONDS = 300.0


@dataclass(frozen=True)
class _Kept:
    statistics: TableStatistics
    until: float


class StatisticsCache:
    """The statistics of each table, kept for five minutes; whoever asks meanwhile waits for the
    same count."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: dict[str, _Kept] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, table: str | None) -> TableStatistics:
        """Raises MissingError where there is no such table."""
        name = self._service.resolve(table)
        async with self._locks[name]:
            kept = self._kept.get(name)
            if kept is None or time.monotonic() > kept.until:
                counted = await self._service.statistics(name)
                kept = self._kept[name] = _Kept(counted, time.monotonic() + _KEPT_SECONDS)
        return kept.statistics


@router.get("/stats", response_model=None, responses={200: {"model": StatisticsAnswer}})
async def stats(request: Request, table: TableName = None) -> Response:
    """Histograms of similarity and size, and the frequent NSFW labels, licenses and sites."""
    service_of(request).resolve(table)
    cache: StatisticsCache = request.app.state.statistics
    return json_answer((await cache.read(table)).to_dict())
