"""The service as a web application: its rooms put together."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import cliphouse
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings


def create_app(settings: ServeSettings, service: Service | None = None) -> FastAPI:
    """The application that ``settings`` describe; handlers find the service as
    ``request.app.state.service``. A ``service`` that is given is started and closed by its owner.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if service is None:
            app.state.service.start()
        yield
        if service is None:
            app.state.service.close()

    app = FastAPI(title="cliphouse", version=cliphouse.__version__, lifespan=lifespan)
    app.state.service = service or Service(settings)
    _include_dialect(app)
    return app


def _include_dialect(app: FastAPI) -> None:
    try:
        dialect = importlib.import_module("cliphouse.server.dialect")
    except ImportError:
        return
    app.include_router(dialect.router)
