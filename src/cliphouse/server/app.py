"""Builds the web application from the routes and the middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

import cliphouse
from cliphouse.server import (
    api,
    archive,
    copies,
    dialect,
    duplicates,
    facets,
    groups,
    health,
    images,
    page,
    places,
    reference,
    rows,
    start,
    stats,
)
from cliphouse.server.access import AccessMiddleware
from cliphouse.server.body import BodyMiddleware
from cliphouse.server.failures import handle_failures
from cliphouse.server.images import Pictures
from cliphouse.server.observe import ObserveMiddleware
from cliphouse.server.pulse import Pulse
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from cliphouse.server.stats import StatisticsCache


def create_app(settings: ServeSettings, service: Service | None = None) -> FastAPI:
    """Build the application for ``settings``.

    Handlers find the service as ``request.app.state.service``. The application starts and closes
    the service, unless the caller passes its own ``service``.
    """
    app_service = service or Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if service is None:
            await asyncio.to_thread(app_service.start)
        yield
        await asyncio.to_thread(app.state.pulse.close)
        if service is None:
            await asyncio.to_thread(app_service.close)

    app = FastAPI(
        title="cliphouse",
        summary="Search image-text pairs with words or pictures",
        version=cliphouse.__version__,
        lifespan=lifespan,
        middleware=_middleware(settings, app_service),
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = app_service
    app.state.pulse = Pulse(app_service.open_tables)
    app.state.pictures = Pictures(settings.pictures, settings.limits)
    app.state.statistics = StatisticsCache(app_service)
    app.state.comparing = asyncio.Lock()
    handle_failures(app)
    for module in (
        api,
        copies,
        stats,
        facets,
        rows,
        groups,
        places,
        duplicates,
        start,
        images,
        archive,
        dialect,
        health,
        reference,
        page,
    ):
        app.include_router(module.router)
    return app


def _middleware(settings: ServeSettings, service: Service) -> list[Middleware]:
    """The middleware, from the outermost to the innermost."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors,
        allow_methods=("GET", "POST"),
        allow_headers=("Authorization", "X-Api-Key", "Content-Type"),
        expose_headers=("Retry-After", "X-Cliphouse-Ignored"),
    )
    return [
        Middleware(ObserveMiddleware, metrics=service.metrics, with_queries=settings.log_queries),
        *([cors] if settings.cors else []),
        Middleware(AccessMiddleware, settings=settings),
        Middleware(BodyMiddleware, limits=settings.limits, metrics=service.metrics),
    ]
