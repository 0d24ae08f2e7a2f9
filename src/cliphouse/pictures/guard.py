"""Connections to public addresses only, for what is fetched at a stranger's word.

httpcore asks a backend for its connections; this one resolves the name, looks at every address and
connects to those very numbers.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import httpcore

from cliphouse.errors import PictureError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]

PORTS = frozenset((80, 443))

_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# What ipaddress calls global in some or all Python versions, and is not a stranger's to ask for.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; a metadata service in one cloud
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # a cloud's own services, at a public address
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4: any IPv4 address, private ones too
        "3fff::/20",  # documentation
    )
)


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet's: unicast, global, and no tunnel or
    translation to an address that is not.

    After the IANA special-purpose address registries (RFC 6890); an IPv4 address inside an IPv6
    one is looked at where it is mapped (RFC 4291) or translated by the well-known prefix of
    RFC 6052, and all of 6to4 and Teredo is refused.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _GLOBAL_IPV6:
            return False
    is_refused = any(address in network for network in _REFUSED)
    return address.is_global and not address.is_multicast and not is_refused


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host by the system's resolver, which also reads 2130706433, 0x7f.1 and
    other forms of numbers. Raises OSError where there is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Deadline:
    """One limit for all the waiting that a fetch does, so that no slow drip can stretch it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, more than 0. Raises httpcore.TimeoutException."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout
        return seconds


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to hosts whose every address may be asked, at the addresses that were checked."""

    def __init__(
        self, resolver: Resolver, allowed: tuple[Network, ...], deadline: Deadline
    ) -> None:
        self._resolver = resolver
        self._allowed = allowed
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._checked(host, port)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for number, address in enumerate(addresses):
            # One that is silent leaves time for the others.
            seconds = self._deadline.left() / (len(addresses) - number)
            try:
                stream = self._plain.connect_tcp(str(address), port, seconds)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure

    def _checked(self, host: str, port: int) -> list[Address]:
        """The host's addresses. Unknown names and private addresses are refused in the same words,
        which tell nobody what names there are in the server's own network."""
        try:
            addresses = [ipaddress.ip_address(found) for found in self._resolved(host, port)]
        except ValueError:
            addresses = []
        if not addresses or not all(map(self._may_ask, addresses)):
            raise PictureError(f"{host} has no public address")
        if port not in PORTS and not all(map(self._is_allowed, addresses)):
            raise PictureError(f"{host}: pictures are fetched from port 80 or 443")
        return addresses

    def _resolved(self, host: str, port: int) -> Sequence[str]:
        """Asked in a thread of its own: a resolver may be slow, and takes no time limit."""
        answer: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put(self._resolver(host, port))
            except (OSError, ValueError):  # no such name, or none that a name can be
                answer.put(())

        threading.Thread(target=ask, daemon=True).start()
        try:
            return answer.get(timeout=self._deadline.left())
        except queue.Empty:
            raise httpcore.ConnectTimeout from None

    def _may_ask(self, address: Address) -> bool:
        return is_public(address) or self._is_allowed(address)

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self._allowed)


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every wait ends at the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _TimedStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
