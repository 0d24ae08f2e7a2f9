"""The service as a web application: its rooms put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

import cliphouse
from cliphouse.server import api, copies, dialect, health, images, page, reference, stats
from cliphouse.server.access import Access
from cliphouse.server.body import Bodies
from cliphouse.server.failures import handle_failures
from cliphouse.server.images import Pictures
from cliphouse.server.observe import Observe
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from cliphouse.server.stats import StatisticsCache


def create_app(settings: ServeSettings, service: Service | None = None) -> FastAPI:
    """The application that ``settings`` describe; handlers find the service as
    ``request.app.state.service``. A ``service`` that is given is started and closed by its owner.
    """
    mine = service or Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if service is None:
            await asyncio.to_thread(mine.start)
        yield
        if service is None:
            await asyncio.to_thread(mine.close)

    app = FastAPI(
        title="cliphouse",
        summary="Search image-text pairs by words or by picture",
        version=cliphouse.__version__,
        lifespan=lifespan,
        middleware=_layers(settings, mine),
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = mine
    app.state.pictures = Pictures(settings.pictures, settings.limits)
    app.state.statistics = StatisticsCache(mine)
    handle_failures(app)
    for room in (api, copies, stats, images, dialect, health, reference, page):
        app.include_router(room.router)
    return app


def _layers(settings: ServeSettings, service: Service) -> list[Middleware]:
    """From the outermost to the innermost."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors,
        allow_methods=("GET", "POST"),
        allow_headers=("Authorization", "X-Api-Key", "Content-Type"),
        expose_headers=("Retry-After", "X-Cliphouse-Ignored"),
    )
    return [
        Middleware(Observe, metrics=service.metrics, with_queries=settings.log_queries),
        *([cors] if settings.cors else []),
        Middleware(Access, settings=settings),
        Middleware(Bodies, limits=settings.limits, metrics=service.metrics),
    ]
