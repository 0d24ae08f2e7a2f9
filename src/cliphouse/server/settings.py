"""The settings of a service."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cliphouse.engine.occupant import PATIENCE, Patience
from cliphouse.errors import UserError
from cliphouse.models import Device
from cliphouse.vocabulary import DEFAULT_DB, DEFAULT_TABLE

PORT = 1234  # the port of clip-retrieval
DEFAULT_TABLES = (DEFAULT_TABLE,)
MAX_DEPTH = 10_000  # rows of a search, over all its pages
MAX_OPERANDS = 16


@dataclass(frozen=True)
class Limits:
    """The limits of one request, and of the whole service.

    ``body_bytes`` and ``body_seconds`` limit a request's body, ``picture_bytes`` and
    ``picture_pixels`` a picture. ``rate`` limits the requests of each key, or of each address if
    there are no keys, as in ``120/minute``; None means no limit. ``queue`` is the number of
    requests that may wait.
    """

    body_bytes: int = 20_000_000
    body_seconds: float = 30.0
    picture_bytes: int = 10_000_000
    picture_pixels: int = 40_000_000
    rate: str | None = None
    queue: int = 64


@dataclass(frozen=True)
class ServeSettings:
    """The settings of a service: its tables, its address and its access rules.

    ``tables`` are names in ``db``; the first is the default. ``pictures`` are the folders whose
    files it may send. ``picture_networks`` are networks that are not public but from which it may
    fetch pictures. ``keys`` are SHA-256 hashes of API keys in hexadecimal. ``cors`` are the origins
    whose pages may read its answers. ``hosts`` are additional Host names that it answers to.
    ``threads`` are those of the encoder, half of the cores if None. ``workers`` is the number of
    parallel searches. With ``log_queries`` the log contains queries. The first table follows the
    folder of pictures ``sync``, whose files the service may send; the shards are in ``sync_to``, by
    default beside an embedded database. A database that another process has open is waited for with
    ``patience``.
    """

    db: str = field(default=DEFAULT_DB, repr=False)  # it may have a password
    tables: tuple[str, ...] = DEFAULT_TABLES
    model: str | None = None
    model_dir: str | None = None
    device: Device = "auto"
    threads: int | None = None
    host: str = "127.0.0.1"
    port: int = PORT
    pictures: tuple[Path, ...] = ()
    picture_networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    keys: tuple[str, ...] = ()
    insecure: bool = False
    cors: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    workers: int = 4
    limits: Limits = field(default_factory=Limits)
    log_queries: bool = False
    sync: Path | None = None
    sync_to: Path | None = None
    patience: Patience = PATIENCE

    def __post_init__(self) -> None:
        """Raises UserError if the service would be open to the network without a key."""
        if not self.is_loopback and not self.keys and not self.insecure:
            raise UserError(
                f"--host {self.host} can be reached from the network: give --api-key or "
                "--api-key-file, or --insecure to let anyone search"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False
