"""The outermost layer: what is told about every request, and the headers of every answer."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cliphouse.server.failures import FAULT, refuse
from cliphouse.server.metrics import Metrics

log = logging.getLogger("cliphouse.server")
access_log = logging.getLogger("cliphouse.server.access")

_METHODS = frozenset(("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"))
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Pages of the service's own: scripts and styles as files, pictures from anywhere they may be.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' https: http: data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Observe:
    """Counts and logs requests, sets the headers that keep browsers safe, and turns a fault of the
    service's own into JSON."""

    def __init__(self, app: ASGIApp, metrics: Metrics, with_queries: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._with_queries = with_queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, tell)
        except Exception:
            log.exception("a fault of cliphouse itself, at %s", scope["path"])
            self._metrics.errors.labels(FAULT).inc()
            if not status:
                fault = refuse(500, "a fault of cliphouse itself; its log says more", FAULT)
                await fault(scope, receive, tell)
        finally:
            self._tell(scope, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, status or "gone").inc()
        self._metrics.request_time.labels(route).observe(seconds)
        client = (scope.get("client") or ("-",))[0]
        key = scope.get("state", {}).get("key", "-")
        path = scope["path"]
        if self._with_queries and scope["query_string"]:
            path += "?" + scope["query_string"].decode("latin-1")
        access_log.info(
            "%s %s %s %r %s %.1f ms",
            client,
            key,
            scope["method"],
            path[:2000],
            status or "gone",
            seconds * 1000,
        )
