"""The owner's way into a service that has an embedded folder open: a file beside the folder says at
which port of loopback, and has the token that opens it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cliphouse.engine.lockfile import file_beside
from cliphouse.engine.workspace import is_running

HOST = "127.0.0.1"
_OWNER_ONLY = 0o600
_TOKEN_BYTES = 32
_CONNECT_SECONDS = 1.0


@dataclass(frozen=True)
class Door:
    """The port that a service of process ``pid`` listens on for its owner alone, and the token that
    says who that is. ``service`` is the address for everybody."""

    port: int
    service: str
    pid: int
    token: str = field(repr=False)

    @classmethod
    def make(cls, port: int, service: str) -> Door:
        """A door of this process with a new token."""
        return cls(port, service, os.getpid(), secrets.token_urlsafe(_TOKEN_BYTES))

    @property
    def is_open(self) -> bool:
        """Whether somebody listens there."""
        try:
            socket.create_connection((HOST, self.port), _CONNECT_SECONDS).close()
        except OSError:
            return False
        return True

    @property
    def host(self) -> str:
        """The Host header of requests."""
        return f"{HOST}:{self.port}"


@contextmanager
def door_file(folder: Path, door: Door) -> Iterator[None]:
    """Keep the file, which only the owner can read, while the block runs. Without the right to
    write beside ``folder`` there is none."""
    with file_beside(_path(folder), json.dumps(asdict(door)), _OWNER_ONLY):
        yield


def read_door(folder: Path) -> Door | None:
    """The door of the service that has ``folder`` open; None if there is no file, its process has
    ended, or it is not a file that this user alone can read and write."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        descriptor = os.open(_path(folder), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor) as stream:
            if not _is_own(os.fstat(descriptor)):
                return None
            values = json.load(stream)
        door = Door(
            int(values["port"]), str(values["service"]), int(values["pid"]), str(values["token"])
        )
        return door if is_running(door.pid) else None
    return None


def _is_own(status: os.stat_result) -> bool:
    is_private = stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO) == 0
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and is_private


def _path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.door")
