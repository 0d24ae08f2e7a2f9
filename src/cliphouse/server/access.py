"""Access control: checks Host header, API key and rate limit before the body is read."""

from __future__ import annotations

import base64
import ipaddress
import math
import time
from collections.abc import Sequence

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cliphouse.errors import UserError
from cliphouse.server.failures import refuse
from cliphouse.server.keys import KeyRing
from cliphouse.server.settings import ServeSettings

# These need no key, because they show nothing of the tables. The page asks for a key itself.
OPEN_PATHS = frozenset(("/", "/health", "/health/live", "/docs", "/openapi.json"))
_OPEN_FOLDER = "/page/"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class AccessMiddleware:
    """Middleware that refuses a wrong Host (400), a missing key (401) and excess requests (429).

    A foreign web page can point its own name at this machine (DNS rebinding). A service on loopback
    therefore answers only to its own names.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app = app
        self._keys = KeyRing(settings.keys)
        self._hosts = _host_names(settings)
        self._rate = Rate(settings.limits.rate) if settings.limits.rate else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._hosts and _host(headers.get("host", "")) not in self._hosts:
            return refuse(
                400,
                "the service does not answer to this Host; allow it with --allow-host",
                "host",
            )
        if scope["path"] in OPEN_PATHS or scope["path"].startswith(_OPEN_FOLDER):
            return None
        client = _client_network(scope)
        if not self._keys.is_open:
            name = self._keys.recognise(_given_key(headers))
            if name is None:
                return refuse(
                    401,
                    "send a valid API key: Authorization: Bearer KEY, or X-Api-Key: KEY",
                    "api_key",
                    {"WWW-Authenticate": "Bearer"},
                )
            scope.setdefault("state", {})["key"] = client = name
        if self._rate and (wait := self._rate.wait(client)):
            return refuse(
                429,
                f"more than {self._rate.text}; try again in {wait} s",
                "rate_limit",
                {"Retry-After": str(wait)},
            )
        return None


class Rate:
    """A rate limit for each client, over a moving window."""

    def __init__(self, text: str) -> None:
        """``text`` is a rate such as 120/minute. Raises UserError if it is not."""
        self.text = text
        self._item = parse_rate(text)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def wait(self, client: str) -> int:
        """Count a request. Returns 0 if it is allowed, else the seconds to wait."""
        if self._limiter.hit(self._item, client):
            return 0
        reset = self._limiter.get_window_stats(self._item, client).reset_time
        return max(1, math.ceil(reset - time.time()))


def parse_rate(text: str) -> RateLimitItem:
    """Parse a rate such as 120/minute. Raises UserError if ``text`` is not a rate."""
    try:
        return parse(text)
    except ValueError:
        raise UserError(
            f"--rate {text}: give a number and a unit of time, as in 120/minute"
        ) from None


def _host_names(settings: ServeSettings) -> frozenset[str]:
    """The Host names that the service answers to; empty if it answers to any."""
    if settings.hosts:
        own = _LOOPBACK_NAMES if settings.is_loopback else (settings.host,)
        return frozenset(name.lower() for name in (*own, *settings.hosts))
    return frozenset(_LOOPBACK_NAMES) if settings.is_loopback else frozenset()


def _host(header: str) -> str:
    """The name in a Host header, in lower case and without the port."""
    if header.startswith("["):
        return header.partition("]")[0].lower() + "]"
    return header.partition(":")[0].lower()


def _given_key(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        return _password(key)
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _password(credentials: str) -> str:
    """The password of basic credentials in base64 (RFC 7617). The user name is ignored.

    A client that accepts only a URL sends its key this way, as in https://:KEY@host/.
    """
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _client_network(scope: Scope) -> str:
    """The address that a rate limit counts. For IPv6 it is the /64 network of one machine."""
    client: Sequence[str] = scope.get("client") or ("unknown",)
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return client[0]
    if address.version == 6 and not address.ipv4_mapped:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
