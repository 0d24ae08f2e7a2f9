"""Reads request bodies within limits, and cancels a handler if its client disconnects."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cliphouse.errors import OverloadError
from cliphouse.server.failures import refuse
from cliphouse.server.metrics import Metrics
from cliphouse.server.settings import Limits
from cliphouse.server.timing import end_part

_DRAIN_SECONDS = 2.0
_MAX_HELD = 10  # all bodies together may take this many times the limit of one


class BodyMiddleware:
    """Middleware that reads each request body completely before its handler runs.

    It refuses a body that is too large (413) or too slow (408), also if it is chunked. It refuses a
    request if all bodies together need too much memory (503).
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body()
        try:
            refusal = await self._read(scope, receive, body)
            if body.is_cut_off:
                self._metrics.disconnected.inc()
            elif refusal is not None:
                self._held -= len(body.data)  # frees the memory for other requests
                body.data.clear()
                await self._refuse(refusal, scope, receive, send)
            else:
                end_part("receive")
                await self._answer(scope, body, receive, send)
        finally:
            self._held -= len(body.data)

    async def _read(self, scope: Scope, receive: Receive, body: _Body) -> ASGIApp | None:
        """Fill ``body``. Returns the response that refuses it, or None."""
        most = self._limits.body_bytes
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > most:
            return _too_large(most)
        try:
            await asyncio.wait_for(self._fill(receive, body), self._limits.body_seconds)
        except asyncio.TimeoutError:
            return refuse(
                408, "the body did not arrive in time", "too_slow", {"Connection": "close"}
            )
        if len(body.data) > most:
            return _too_large(most)
        if self._held > _MAX_HELD * most:
            self._metrics.overloaded.inc()
            return refuse(
                503,
                "there are too many large requests; try again later",
                OverloadError.code,
                {"Retry-After": "2", "Connection": "close"},
            )
        return None

    async def _fill(self, receive: Receive, body: _Body) -> None:
        most = self._limits.body_bytes
        while len(body.data) <= most and self._held <= _MAX_HELD * most:
            message = await receive()
            if message["type"] == "http.disconnect":
                body.is_cut_off = True
                return
            piece = message.get("body", b"")
            body.data += piece
            self._held += len(piece)
            if not message.get("more_body", False):
                return

    async def _refuse(self, refusal: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the refusal, then read more of the body for a while.

        If the connection closed with unread bytes, the client would lose the response.
        """

        async def drain() -> None:
            left = self._limits.body_bytes
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return

        async def send_then_drain(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({**message, "more_body": True})
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(drain(), _DRAIN_SECONDS)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await refusal(scope, receive, send_then_drain)

    async def _answer(self, scope: Scope, body: _Body, receive: Receive, send: Send) -> None:
        """Run the handler, and cancel it if the client disconnects before the response."""
        disconnected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        is_body_sent = False
        is_answered = False

        async def receive_body() -> Message:
            nonlocal is_body_sent
            if not is_body_sent:
                is_body_sent = True
                return {"type": "http.request", "body": bytes(body.data), "more_body": False}
            await asyncio.shield(disconnected)
            return {"type": "http.disconnect"}

        async def send_response(message: Message) -> None:
            nonlocal is_answered
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                is_answered = True

        async def wait_for_disconnect() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            if not disconnected.done():
                disconnected.set_result(None)

        async def handle() -> None:
            await self._app(scope, receive_body, send_response)

        handler = asyncio.create_task(handle())
        watcher = asyncio.create_task(wait_for_disconnect())
        try:
            await asyncio.wait({handler, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if not handler.done() and not is_answered:
                handler.cancel()
                self._metrics.disconnected.inc()
                await asyncio.wait({handler})
            if not handler.cancelled():
                await handler
        finally:
            watcher.cancel()
            handler.cancel()


def _too_large(most: int) -> ASGIApp:
    message = f"the body is larger than {most:,} bytes"
    return refuse(413, message, "too_large", {"Connection": "close"})


class _Body:
    """The received bytes. ``is_cut_off`` is set if the client disconnected before the end."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_cut_off = False
