"""Runs the service until a signal stops it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType

import uvicorn
import uvloop
from starlette.types import ASGIApp

from cliphouse.engine.address import FolderAddress, parse_address
from cliphouse.engine.door import HOST, Door, door_file
from cliphouse.engine.embedded import prepare_readers
from cliphouse.engine.lockfile import lock_file
from cliphouse.engine.reading_session import ReadingSessions
from cliphouse.engine.running import end_statements
from cliphouse.errors import UserError
from cliphouse.server.app import create_app
from cliphouse.server.following import Follower
from cliphouse.server.jobs import Jobs
from cliphouse.server.owner import OwnerApp, OwnersDoor
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from cliphouse.vocabulary import Progress

# How long running requests may take after SIGTERM, and after Ctrl-C, when somebody waits.
_FINISH_SECONDS, _SOON_SECONDS = 30, 0.4
_BACKLOG = 512
log = logging.getLogger("cliphouse.server")


@dataclass(frozen=True)
class Ready:
    """A running service. ``problems`` are lines about tables that it cannot search by words or by
    pictures."""

    address: str
    problems: Sequence[str]


def serve(
    settings: ServeSettings, announce: Callable[[Ready], None], progress: Progress | None = None
) -> None:
    """Serve until SIGTERM, and finish the running requests; or until SIGINT, and end within a
    second.

    A folder that is followed is brought into the table first, which calls ``progress``. It calls
    ``announce`` when the service is ready. Raises UserError if it cannot listen on the
    port, TableError if a table does not exist or cannot be opened, and what Table.sync raises.
    """
    follower = None if settings.sync is None else Follower(settings, settings.sync)
    prepare_readers()
    with _listen(settings) as listener:
        address = _shown(settings.host, listener.getsockname()[1])
        service = Service(settings)
        if follower is not None:
            follower.sync(progress)
        problems = service.start()
        try:
            with _front(settings, create_app(settings, service), address) as front:
                ready = Ready(address, problems)
                server = _Server(_config(front.app), lambda: announce(ready), front.stop)
                with _end_quietly(), follower or nullcontext():
                    uvloop.run(server.serve(sockets=[listener, *front.sockets]))
        finally:
            service.close()


@dataclass(frozen=True)
class _Front:
    """What is served, the sockets that it has beside that of clients, and what ends work that
    would go on for long."""

    app: ASGIApp
    sockets: Sequence[socket.socket] = ()
    stop: Callable[[], None] = lambda: None


@contextmanager
def _front(settings: ServeSettings, public: ASGIApp, address: str) -> Iterator[_Front]:
    """``public``, and for an embedded database the owner's way in. Files beside the folder tell
    other processes of both."""
    db = parse_address(settings.db)
    if not isinstance(db, FolderAddress):
        yield _Front(public)
        return
    with _listen_on(HOST, 0) as own:
        door = Door.make(own.getsockname()[1], address)
        jobs = Jobs(settings)
        owner = OwnerApp(ReadingSessions(db.folder), jobs, door)
        try:
            with lock_file(db.folder, address), door_file(db.folder, door):
                yield _Front(OwnersDoor(public, owner.app, door), (own,), jobs.stop)
        finally:
            owner.close()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http="httptools",
        ws="none",
        timeout_graceful_shutdown=_FINISH_SECONDS,
    )


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_started = started
        self._on_stopping = stopping
        self._leaving: threading.Thread | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT and self._leaving is None:
            self._leaving = threading.Thread(target=_leave_soon, daemon=True)
            self._leaving.start()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        await super().shutdown(sockets)


def _leave_soon() -> None:
    """End the statements of requests that do not end by themselves, and then the process."""
    time.sleep(_SOON_SECONDS)
    end_statements(time.monotonic())
    time.sleep(_SOON_SECONDS)
    log.warning("ended, with requests that were running")
    os._exit(0)


@contextmanager
def _end_quietly() -> Iterator[None]:
    """Ignore the signal that uvicorn raises again after it has stopped. Nothing is left to stop."""
    handled = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: None) for number in handled]
    try:
        yield
    finally:
        for number, handler in zip(handled, before, strict=True):
            signal.signal(number, handler)


def _listen(settings: ServeSettings) -> socket.socket:
    try:
        return _listen_on(settings.host.strip("[]"), settings.port)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--host {settings.host} --port {settings.port}: cannot listen there "
            f"({getattr(error, 'strerror', None) or error}); choose another, or --port 0 for any"
        ) from error


def _listen_on(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=False)
    # asyncio sets this only if the socket names TCP as its protocol, which this one does not.
    # Without it, the second part of a response waits 40 ms for the first to be acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _shown(host: str, port: int) -> str:
    named = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{named}:{port}"


@contextmanager
def log_to_standard_error() -> Iterator[None]:
    """Log a line for each request to standard error until the block ends."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("cliphouse.server")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
