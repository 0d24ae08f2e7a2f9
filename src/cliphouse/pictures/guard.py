"""Connections to public addresses only, for fetches that a stranger asks for.

httpcore takes its connections from a backend. This backend resolves the name, checks every address
and connects to the checked addresses.
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
# Networks that ipaddress calls global in some Python versions, but that are not for strangers.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; a metadata service in one cloud
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # internal services of a cloud, at a public address
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4: any IPv4 address, private ones too
        "3fff::/20",  # documentation
    )
)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet: unicast, global, and not a tunnel to or
    a translation of another address.

    The rules follow the IANA special-purpose address registries (RFC 6890). An IPv4 address inside
    an IPv6 address is checked if it is mapped (RFC 4291) or translated by the well-known prefix of
    RFC 6052; all addresses of 6to4 and Teredo are refused.
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
    """The addresses of a host. The system's resolver also reads 2130706433, 0x7f.1 and other
    forms of numbers. Raises OSError if there is no address."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Deadline:
    """A time limit for a whole fetch, so that a server that sends slowly cannot extend it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """The remaining seconds, more than 0. Raises httpcore.TimeoutException if none remain."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout
        return seconds


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to hosts of which every address is allowed, at the addresses that were checked."""

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
            # A silent address must leave time for the others.
            seconds = self._deadline.left() / (len(addresses) - number)
            try:
                stream = self._plain.connect_tcp(str(address), port, seconds)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure

    def _checked(self, host: str, port: int) -> list[Address]:
        """The addresses of the host, if all are allowed.

        Unknown names and private addresses get the same error, so that it does not reveal which
        names exist in the service's own network.
        """
        try:
            addresses = [ipaddress.ip_address(found) for found in self._resolved(host, port)]
        except ValueError:
            addresses = []
        if not addresses or not all(map(self._is_fetchable, addresses)):
            raise PictureError(f"{host} has no public address")
        if port not in PORTS and not all(map(self._is_allowed, addresses)):
            raise PictureError(f"{host}: pictures are fetched only from port 80 or 443")
        return addresses

    def _resolved(self, host: str, port: int) -> Sequence[str]:
        """Resolve in another thread: a resolver may be slow and has no time limit."""
        answer: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put(self._resolver(host, port))
            except (OSError, ValueError):  # no such name, or not a valid name
                answer.put(())

        threading.Thread(target=ask, daemon=True).start()
        try:
            return answer.get(timeout=self._deadline.left())
        except queue.Empty:
            raise httpcore.ConnectTimeout from None

    def _is_fetchable(self, address: Address) -> bool:
        return is_public(address) or self._is_allowed(address)

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self._allowed)


class _TimedStream(httpcore.NetworkStream):
    """A connection whose reads and writes end at the deadline."""

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
