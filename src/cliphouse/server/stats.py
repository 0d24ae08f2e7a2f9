"""The route /api/stats: statistics of a table's rows, counted at most every five minutes."""

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
    """Keeps the statistics of each table for five minutes. Concurrent requests share one count."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: dict[str, _Kept] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, table: str | None) -> TableStatistics:
        """The statistics of a table. Raises MissingError if the table does not exist."""
        name = self._service.resolve(table)
        async with self._locks[name]:
            kept = self._kept.get(name)
            if kept is None or time.monotonic() > kept.until:
                counted = await self._service.statistics(name)
                kept = self._kept[name] = _Kept(counted, time.monotonic() + _KEPT_SECONDS)
        return kept.statistics


@router.get("/stats", response_model=None, responses={200: {"model": StatisticsAnswer}})
async def stats(request: Request, table: TableName = None) -> Response:
    """Get histograms of similarity and size, and the frequent NSFW labels, licenses and sites."""
    service_of(request).resolve(table)
    cache: StatisticsCache = request.app.state.statistics
    return json_answer((await cache.read(table)).to_dict())
