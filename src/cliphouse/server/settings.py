"""What a service is told when it starts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cliphouse.errors import UserError
from cliphouse.vocabulary import DEFAULT_DB, DEFAULT_TABLE

PORT = 1234  # clip-retrieval's own
DEFAULT_TABLES = (DEFAULT_TABLE,)
MAX_DEPTH = 10_000  # how far down its list of rows a search may be followed
MAX_OPERANDS = 16


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how much the service takes on.

    ``body_bytes`` bounds a request's body, ``picture_bytes`` and ``picture_pixels`` one picture.
    ``rate`` is how often one key, or one address where there are no keys, may ask, as in
    ``120/minute``; None for as often as it likes. ``queue`` is how many requests may wait beside
    those that run.
    """

    body_bytes: int = 20_000_000
    body_seconds: float = 30.0
    picture_bytes: int = 10_000_000
    picture_pixels: int = 40_000_000
    rate: str | None = None
    queue: int = 64


@dataclass(frozen=True)
class ServeSettings:
    """A service: where it listens, what it shows, and to whom.

    ``tables`` are names in ``db``, the first of them the default. ``pictures`` are the folders
    whose files may be sent, ``picture_networks`` what is not public and pictures are fetched from
    all the same. ``keys`` are SHA-256 hashes of API keys in hexadecimal. ``cors`` are
    the origins whose pages may ask, ``hosts`` the names beside its own that it answers to.
    ``workers`` is how many searches run at once. With ``log_queries`` the log says what was
    searched for.
    """

    db: str = field(default=DEFAULT_DB, repr=False)  # it may have a password
    tables: tuple[str, ...] = DEFAULT_TABLES
    model: str | None = None
    model_dir: str | None = None
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

    def __post_init__(self) -> None:
        """Raises UserError where the service would be open to the network without a key."""
        if not self.is_loopback and not self.keys and not self.insecure:
            raise UserError(
                f"--host {self.host} can be reached by others: give --api-key or --api-key-file, "
                "or --insecure to let anyone search"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False
