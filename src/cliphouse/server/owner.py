"""The owner's way in: an application of its own, on a port of loopback, behind a token.

Other processes of the user who runs the service find the token beside the database, where nobody
else can read it (cliphouse.engine.door). They have statements run that read, over ClickHouse's HTTP
interface. Nothing of it can be reached through the address that clients use.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cliphouse.engine.connection import FORMAT_HEADER
from cliphouse.engine.door import HOST, Door
from cliphouse.engine.reading_session import ReadingSessions, Statement
from cliphouse.engine.statements import returns_rows
from cliphouse.errors import OverloadError, QueryError, UserError
from cliphouse.server.jobs import Jobs
from cliphouse.udf import EncoderSettings

log = logging.getLogger("cliphouse.server")
_Result = TypeVar("_Result")
_THREADS = 32
_MOST_FIELDS = 10_000
_MOST_FORM = 256 * 2**20  # a statement with its parameters: vectors, or the ids of an export
# Parameters of ClickHouse's HTTP interface that are no settings of the engine.
_NO_SETTINGS = frozenset(
    (
        *("query", "database", "default_format", "session_id", "session_timeout", "session_check"),
        *("query_id", "quota_key", "compress", "decompress", "wait_end_of_query", "buffer_size"),
        *("role", "client_protocol_version", "close_session", "send_progress_in_http_headers"),
        *("http_headers_progress_interval_ms", "enable_http_compression"),
        "cancel_http_readonly_queries_on_client_close",
    )
)
_SETTING = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_CODE = re.compile(r"Code: (\d+)")
_READ_ONLY = "164"
_FAILURE = "1002"  # the engine's code for what has none


class OwnersDoor:
    """An application that is ``owner`` for requests to the door, and ``public`` for all others."""

    def __init__(self, public: ASGIApp, owner: ASGIApp, door: Door) -> None:
        self._public = public
        self._owner = owner
        self._address = (HOST, door.port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_owner = scope["type"] == "http" and tuple(scope["server"] or ()) == self._address
        await (self._owner if is_owner else self._public)(scope, receive, send)


class OwnerOnly:
    """Middleware that refuses whoever has not the token, comes from elsewhere, or is a web page."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._host = door.host
        self._expected = f"Bearer {door.token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_allowed = scope["type"] != "http" or self._is_allowed(scope)
        refusal = PlainTextResponse("this is for the service's owner alone\n", 403)
        try:
            await (self._app if is_allowed else refusal)(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the connection is closed, which the caller sees
            log.error("the owner's request failed: %s", " ".join(str(error).split())[:1000])

    def _is_allowed(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        given = headers.get("authorization", "").encode("utf-8", "surrogateescape")
        is_known = hmac.compare_digest(given, self._expected)
        is_here = (scope["client"] or ("",))[0] == HOST and headers.get("host") == self._host
        return is_known and is_here and "origin" not in headers


class OwnerApp:
    """Runs the owner's statements, each in a thread, and does the owner's jobs."""

    def __init__(self, sessions: ReadingSessions, jobs: Jobs, door: Door) -> None:
        self._sessions = sessions
        self._jobs = jobs
        self._threads = ThreadPoolExecutor(_THREADS, "owner")
        self.app = Starlette(
            routes=[
                Route("/sessions/{name}", self._run, methods=["GET", "POST"]),
                Route("/sessions/{name}", self._end, methods=["DELETE"]),
                Route("/jobs", self._do, methods=["POST"]),
                Route("/sessions/{name}/failure", self._tell_failure),
                Route("/sessions/{name}/encoder", self._use_encoder, methods=["PUT"]),
            ],
            middleware=[Middleware(OwnerOnly, door=door)],
        )

    def close(self) -> None:
        """Stop the job and the statements that run, and close the sessions."""
        self._jobs.close()
        self._sessions.stop()
        self._threads.shutdown()
        self._sessions.close()

    async def _do(self, request: Request) -> Response:
        """Do a job, and tell of it in lines of JSON."""
        try:
            job = self._jobs.begin(await request.json())
        except UserError as error:
            refused = {"error": {"code": error.code, "message": str(error)}}
            return PlainTextResponse(json.dumps(refused) + "\n")
        return StreamingResponse(job.lines(), media_type="application/jsonl")

    async def _run(self, request: Request) -> Response:
        name, statement = request.path_params["name"], await _read(request)
        pieces = _Pieces(self._sessions, name, statement)
        first = asyncio.ensure_future(self._in_thread(pieces.next))
        gone = asyncio.ensure_future(_disconnected(request))
        await asyncio.wait({first, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not first.done():  # nobody waits for the result any more
            await self._in_thread(lambda: self._sessions.stop(name))
        try:
            piece = await first
        except Exception as error:  # noqa: BLE001 - the engine's, which the caller translates
            return _failed(error)
        has_result = piece is not None or returns_rows(statement.sql)
        headers = {FORMAT_HEADER: statement.chosen_format} if has_result else {}
        return StreamingResponse(self._rest(name, piece, pieces), headers=headers)

    async def _rest(self, name: str, first: bytes | None, pieces: _Pieces) -> AsyncIterator[bytes]:
        """All pieces. A caller who goes ends the statement."""
        piece = first
        try:
            while piece is not None:
                yield piece
                piece = await self._in_thread(pieces.next)
        finally:
            if piece is not None:
                self._threads.submit(self._sessions.stop, name)
            self._threads.submit(pieces.close)

    async def _use_encoder(self, request: Request) -> Response:
        settings = EncoderSettings.from_json((await request.body()).decode())
        name = request.path_params["name"]
        session = await self._in_thread(lambda: self._sessions.session(name))
        session.encoder = settings
        return Response(status_code=204)

    async def _tell_failure(self, request: Request) -> Response:
        """Why the last answer broke off, which its status could not say any more."""
        name = request.path_params["name"]
        session = await self._in_thread(lambda: self._sessions.session(name))
        return PlainTextResponse(session.failure)

    async def _end(self, request: Request) -> Response:
        name = request.path_params["name"]
        await self._in_thread(lambda: self._sessions.end(name))
        return Response(status_code=204)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class _Pieces:
    """The result of a statement in pieces, of which threads take one after another."""

    def __init__(self, sessions: ReadingSessions, session: str, statement: Statement) -> None:
        self._lock = threading.Lock()
        self._pieces = self._run(sessions, session, statement)

    def next(self) -> bytes | None:
        with self._lock:
            return next(self._pieces, None)

    def close(self) -> None:
        with self._lock:
            self._pieces.close()

    @staticmethod
    def _run(
        sessions: ReadingSessions, session: str, statement: Statement
    ) -> Generator[bytes, None, None]:
        yield from sessions.session(session).run(statement)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request) -> Statement:
    values = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_fields=_MOST_FIELDS, max_part_size=_MOST_FORM) as form:
            values |= {name: value for name, value in form.items() if isinstance(value, str)}
        sql = values.get("query", "")
    else:
        sql = values.get("query", "") + (await request.body()).decode()
    parameters = {n.removeprefix("param_"): v for n, v in values.items() if n.startswith("param_")}
    settings = {
        name: value
        for name, value in values.items()
        if name not in _NO_SETTINGS and not name.startswith("param_") and _SETTING.fullmatch(name)
    }
    by_value = values.get("default_format", "TabSeparated")
    form_name = request.headers.get(FORMAT_HEADER, by_value)  # as a server prefers them
    return Statement(sql, form_name, parameters, settings)


def _failed(error: Exception) -> Response:
    """The answer for an error before the first piece, as a server of ClickHouse gives it."""
    if isinstance(error, OverloadError):
        return PlainTextResponse(f"{error}\n", 503)
    match = _CODE.search(str(error))
    code = _READ_ONLY if isinstance(error, QueryError) else match[1] if match else _FAILURE
    headers = {"X-ClickHouse-Exception-Code": code}
    return PlainTextResponse(f"{error}\n", 500, headers)
