"""Fetching a picture for a stranger, from the public internet only.

A service that fetches any URL can be used to attack its own network (server-side request forgery):
a router, a cloud's metadata service, a database that trusts its neighbours. Therefore every address
that a host's name resolves to must be public, and the connection goes to the address that was
checked. A name is resolved only once, so that it cannot resolve differently after the check (DNS
rebinding).
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import httpcore
import httpx

from cliphouse._version import __version__
from cliphouse.errors import PictureError
from cliphouse.pictures.guard import CheckedBackend, Deadline, Network, Resolver, resolve

MAX_URL = 4096
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_AGENT = f"cliphouse/{__version__} (picture search; fetches a picture when asked to)"
_HEADERS = {
    b"User-Agent": _AGENT.encode(),
    b"Accept": b"image/*",
    # A compressed answer would have to be decompressed, and a kilobyte can become a gigabyte.
    b"Accept-Encoding": b"identity",
}
_NETWORK_ERRORS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


@dataclass(frozen=True)
class FetchLimits:
    """Limits of one fetch: the bytes of a picture, the ``seconds`` from resolving the name to the
    last byte, and the number of redirects."""

    max_bytes: int = 20_000_000
    seconds: float = 10.0
    redirects: int = 3


def fetch_public(
    url: str,
    limits: FetchLimits | None = None,
    *,
    allow_networks: Iterable[Network] = (),
    resolver: Resolver = resolve,
) -> bytes:
    """Fetch the bytes at an http or https ``url`` from port 80 or 443 of a public address.

    Redirects follow the same rules. The request has no cookies and no credentials, and uses no
    proxy of the environment. Whether the bytes are a picture is not checked. ``allow_networks``
    are private networks that may be used too, on any port, such as a picture host of one's own.

    Raises PictureError if the URL is refused, cannot be reached, answers with another status than
    200, or exceeds the limits.
    """
    limits = limits or FetchLimits()
    deadline = Deadline(limits.seconds)
    backend = CheckedBackend(resolver, tuple(allow_networks), deadline)
    target = _parse(url)
    try:
        with httpcore.ConnectionPool(ssl_context=tls_context(), network_backend=backend) as pool:
            for _ in range(limits.redirects + 1):
                answer = _get(pool, target, limits.max_bytes)
                if isinstance(answer, bytes):
                    return answer
                target = answer
    except httpcore.TimeoutException as error:
        raise PictureError(f"{_short(url)}: not fetched within {limits.seconds:g} s") from error
    except _NETWORK_ERRORS as error:
        raise PictureError(f"{_short(url)}: cannot be fetched: {error}") from error
    raise PictureError(f"{_short(url)}: more than {limits.redirects} redirects")


@cache
def tls_context() -> ssl.SSLContext:
    """A TLS context that verifies certificates and names, by certifi or by SSL_CERT_FILE."""
    return httpx.create_ssl_context()


def _parse(url: str) -> httpx.URL:
    if len(url) > MAX_URL:
        raise PictureError(f"{_short(url)}: the URL is longer than {MAX_URL} characters")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise PictureError(f"{_short(url)}: not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.raw_host:
        raise PictureError(f"{_short(url)}: give a URL that begins with http:// or https://")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise PictureError(f"{_short(url)}: there is no port {parsed.port}")
    if parsed.userinfo:
        raise PictureError("a URL with a user name or a password is not fetched")
    return parsed


def _get(pool: httpcore.ConnectionPool, target: httpx.URL, max_bytes: int) -> bytes | httpx.URL:
    """The body of the answer, or the URL that it redirects to."""
    url = httpcore.URL(
        scheme=target.raw_scheme,
        host=target.raw_host,
        port=target.port,
        target=target.raw_path,
    )
    headers = [(b"Host", target.netloc), *_HEADERS.items()]
    with pool.stream("GET", url, headers=headers) as response:
        fields = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in fields:
            return _next(target, fields[b"location"])
        if response.status != 200:
            raise PictureError(f"{_short(str(target))}: the server answers {response.status}")
        data = io.BytesIO()
        for piece in response.iter_stream():
            data.write(piece)
            if data.tell() > max_bytes:
                raise PictureError(f"{_short(str(target))}: larger than {max_bytes / 1e6:g} MB")
        return data.getvalue()


def _next(target: httpx.URL, location: str) -> httpx.URL:
    try:
        return _parse(str(target.join(location)))
    except (httpx.InvalidURL, UnicodeError) as error:
        raise PictureError(f"{_short(str(target))}: redirects to a wrong URL: {error}") from error


def _short(url: str) -> str:
    """A URL for errors: one line of bounded length."""
    shown = "".join(c if c.isprintable() else "?" for c in url[:101])
    return shown if len(shown) <= 100 else shown[:99] + "…"
