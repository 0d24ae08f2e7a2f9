"""Who may ask, by which name, and how often: settled before anything of the request is read."""

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

# These say that it runs, and how to ask it, but nothing of what it holds; the page asks for a key.
OPEN_PATHS = frozenset(("/", "/health", "/health/live", "/docs", "/openapi.json"))
_OPEN_FOLDER = "/page/"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Access:
    """Refuses a request with a foreign Host (400), without a key (401), or too many of them (429).

    A page anywhere can have its name point at this machine (DNS rebinding); a service on loopback
    without keys therefore answers to its own names only.
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
                "this Host is not one of the service's; start it with --allow-host",
                "host",
            )
        if scope["path"] in OPEN_PATHS or scope["path"].startswith(_OPEN_FOLDER):
            return None
        asker = _address(scope)
        if not self._keys.is_open:
            name = self._keys.recognise(_given_key(headers))
            if name is None:
                return refuse(
                    401,
                    "give a valid API key: Authorization: Bearer KEY, or X-Api-Key: KEY",
                    "api_key",
                    {"WWW-Authenticate": "Bearer"},
                )
            scope.setdefault("state", {})["key"] = asker = name
        if self._rate and (wait := self._rate.wait(asker)):
            return refuse(
                429,
                f"more than {self._rate.text}; ask again in {wait} s",
                "rate_limit",
                {"Retry-After": str(wait)},
            )
        return None


class Rate:
    """How often one client may ask, over a moving window."""

    def __init__(self, text: str) -> None:
        """Raises UserError where ``text`` is no rate such as 120/minute."""
        self.text = text
        self._item = parse_rate(text)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def wait(self, asker: str) -> int:
        """Counts a request; 0 where it is allowed, else the seconds to wait."""
        if self._limiter.hit(self._item, asker):
            return 0
        reset = self._limiter.get_window_stats(self._item, asker).reset_time
        return max(1, math.ceil(reset - time.time()))


def parse_rate(text: str) -> RateLimitItem:
    """Raises UserError where ``text`` is no rate such as 120/minute."""
    try:
        return parse(text)
    except ValueError:
        raise UserError(f"--rate {text}: give a number and a time, as in 120/minute") from None


def _host_names(settings: ServeSettings) -> frozenset[str]:
    """The names it answers to; none where any will do."""
    if settings.hosts:
        own = _LOOPBACK_NAMES if settings.is_loopback else (settings.host,)
        return frozenset(name.lower() for name in (*own, *settings.hosts))
    return frozenset(_LOOPBACK_NAMES) if settings.is_loopback else frozenset()


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0].lower() + "]"
    return header.partition(":")[0].lower()


def _given_key(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        return _password(key)
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _password(credentials: str) -> str:
    """Of a name and a password in base64: what a client sends that can be told only a URL, as in
    https://:KEY@host/ (RFC 7617). The name may be anything."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _address(scope: Scope) -> str:
    """Whom to count without a key; of IPv6 a whole network, which one machine may have."""
    client: Sequence[str] = scope.get("client") or ("unknown",)
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return client[0]
    if address.version == 6 and not address.ipv4_mapped:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
