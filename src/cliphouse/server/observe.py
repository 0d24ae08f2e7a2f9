"""The outermost middleware: the log, the metrics and the security headers of each request."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cliphouse.server.failures import FAULT, refuse
from cliphouse.server.metrics import Metrics
from cliphouse.server.timing import HEADER, begin_parts

log = logging.getLogger("cliphouse.server")
access_log = logging.getLogger("cliphouse.server.access")

_METHODS = frozenset(("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"))
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Scripts and styles come only from the service, pictures from any site.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' https: http: data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class ObserveMiddleware:
    """Middleware that counts and logs requests, and sets security headers for browsers.

    It answers an unexpected exception with status 500 and JSON.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, with_queries: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._with_queries = with_queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        parts = begin_parts()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                parts.end("write")
                headers[HEADER] = parts.header()
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("internal error in cliphouse, at %s", scope["path"])
            self._metrics.errors.labels(FAULT).inc()
            if not status:
                response = refuse(500, "internal error in cliphouse; see its log", FAULT)
                await response(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
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
