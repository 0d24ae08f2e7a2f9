"""The embedded engine behind the interface: one connection of it for each request or session."""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chdb

from standin.pretend import Pretence, RefusalError
from standin.request import Request
from standin.users import User, write_config

_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)
# Statements that leave something with the connection that they run on.
_STAYS = re.compile(r"\s*(SET|USE|CREATE\s+(OR\s+REPLACE\s+)?TEMPORARY)\b", re.I)


@dataclass(frozen=True)
class Result:
    """A result's bytes, the name of its format, and the rows that were read."""

    data: bytes
    format: str
    rows_read: int


class Session:
    """A connection of the engine with its own settings and temporary tables."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.busy = threading.Lock()


class Engine:
    """Runs requests as their users. ``pretence`` may be changed at any time."""

    def __init__(self, folder: Path, users: tuple[User, ...], config: str | None) -> None:
        """With a ``config`` of the caller's own, every user may do everything."""
        folder.mkdir(parents=True, exist_ok=True)
        self._has_roles = config is None
        chosen = config or write_config(folder, users)
        self._folder = str(folder / "data")
        self._sessions: dict[tuple[str, str], Session] = {}
        self._idle: defaultdict[object, list[Any]] = defaultdict(list)
        self._lock = threading.Lock()
        self.pretence = Pretence()
        self._keep_open = chdb.connect(f"{self._folder}?config-file={chosen}")

    def run(self, request: Request, user: User) -> Result:
        """Raises RuntimeError with the engine's message, or RefusalError."""
        query = self.pretence.apply(request.query, request.settings)
        if request.session is None:
            return self._run_alone(query, request, user)
        with self._session(user, request) as connection:
            self._enter(connection, request, user)
            before = _settings_of(connection, request)
            _set(connection, request.settings)
            try:
                return self._query(connection, query, request)
            finally:
                _set(connection, before)

    def _run_alone(self, query: str, request: Request, user: User) -> Result:
        """On a connection without a past. Making one takes longer than most statements, so it is
        kept for the next request of the same user with the same settings, if nothing stays there.
        """
        alike = (user, request.is_get, request.database, tuple(request.settings.items()))
        with self._lock:
            connection = self._idle[alike].pop() if self._idle[alike] else None
        if connection is None:
            connection = self._open(user, request.is_get)
            try:
                self._enter(connection, request, user)
                _set(connection, request.settings)
            except BaseException:
                connection.close()
                raise
        is_kept = False
        try:
            result = self._query(connection, query, request)
            is_kept = _STAYS.match(query) is None
            return result
        finally:
            if is_kept:
                with self._lock:
                    self._idle[alike].append(connection)
            else:
                connection.close()

    def _query(self, connection: Any, query: str, request: Request) -> Result:
        with _with_data(query, request) as statement:
            match = _FORMAT.search(statement)
            fmt = match[1] if match else request.default_format
            result = connection.query(statement, fmt, params=request.parameters)
            return Result(result.bytes() or b"", fmt, result.rows_read())

    @contextlib.contextmanager
    def _session(self, user: User, request: Request) -> Iterator[Any]:
        """The connection of a request's session, which one request at a time has."""
        session = self._find_session(user, request)
        if not session.busy.acquire(blocking=False):
            raise RefusalError(
                f"Code: 373. DB::Exception: Session {request.session} is locked by a concurrent "
                "client. (SESSION_IS_LOCKED)"
            )
        try:
            yield session.connection
        finally:
            session.busy.release()

    def _find_session(self, user: User, request: Request) -> Session:
        key = (user.name, str(request.session))
        with self._lock:
            if key not in self._sessions:
                if request.values.get("session_check") == "1":
                    raise RefusalError(
                        "Code: 372. DB::Exception: Session not found. (SESSION_NOT_FOUND)"
                    )
                self._sessions[key] = Session(self._open(user, False))
            return self._sessions[key]

    def _open(self, user: User, is_get: bool) -> Any:
        connection = chdb.connect(self._folder)
        if self._has_roles:
            connection.query(f"SET profile = '{user.name}'")
        _set(connection, dict(user.profile))
        # A server takes GET for a promise to change nothing.
        if readonly := user.readonly or (2 if is_get else 0):
            connection.query(f"SET readonly = {readonly}")
        return connection

    def _enter(self, connection: Any, request: Request, user: User) -> None:
        """Choose the database, for which a server asks no privilege, and then be the user."""
        if self._has_roles:
            connection.query("SET ROLE ALL")
        connection.query(f"USE `{request.database}`")
        if self._has_roles:
            connection.query(f"SET ROLE {user.name}")


def _settings_of(connection: Any, request: Request) -> dict[str, str]:
    """What the session has of the settings that this request alone changes."""
    if not request.settings:
        return {}
    values = ", ".join(f"toString(getSetting('{name}'))" for name in request.settings)
    try:
        found = connection.query(f"SELECT {values}", "TSVRaw").bytes().decode()
    except RuntimeError:  # one of them does not exist, which the engine says when it is to be set
        return {}
    return dict(zip(request.settings, found.rstrip("\n").split("\t"), strict=True))


def _set(connection: Any, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        connection.query(f"SET {name} = '{quoted}'")


@contextlib.contextmanager
def _with_data(query: str, request: Request) -> Iterator[str]:
    """The statement; what an INSERT carries is in a file meanwhile."""
    if request.data is None:
        yield query
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(request.data)
        file.flush()
        yield f"{query} FROM INFILE '{file.name}' FORMAT {request.default_format}"
