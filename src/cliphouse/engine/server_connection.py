"""A connection to a ClickHouse server over HTTP."""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver import exceptions
from clickhouse_connect.driver.httpclient import HttpClient
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from cliphouse.engine.address import ServerAddress
from cliphouse.engine.connection import Connection
from cliphouse.engine.driver_log import quiet_driver
from cliphouse.engine.error_translation import clean_message, server_error
from cliphouse.engine.retry import RETRY_SECONDS, with_retries
from cliphouse.engine.running import may_be_ended
from cliphouse.engine.staging import StagedTable
from cliphouse.errors import EngineError
from cliphouse.udf import EncoderSettings

# How long a server may take to accept a connection, to answer the first questions about itself,
# and to send the next bytes of an answer. While it computes it sends some headers, unless the user
# has changed that setting.
_CONNECT_SECONDS, _OPENING_SECONDS, _ANSWER_SECONDS = 10, 30, 300
_END_SECONDS = 2  # for the request to end a statement
# A server that fails in the middle of an answer says so at its end; before 25.11 it does so without
# the line that begins the exception.
_TAIL = 16_384
_FAILED_MIDWAY = re.compile(
    rb"(?:^|\n)(Code: \d+\. DB::Exception: [^\n]*)\n(?:\d+ \w+\r\n__exception__\r\n)?\Z"
)
_T = TypeVar("_T")
_inherited: list[HttpClient] = []  # of the parent of a fork, whose sockets stay open


class ServerConnection(Connection):
    """A connection over HTTP. Statements that may be sent twice are sent again while the server
    does not answer, for ``retry_seconds``."""

    is_embedded = False
    address: ServerAddress

    def __init__(self, address: ServerAddress, retry_seconds: float = RETRY_SECONDS) -> None:
        """Connect to the server and ask for its version.

        Raises TableError if the server does not let this user in or has no such database, and
        UnreachableError if no server answers.
        """
        self.address = address
        self._process = os.getpid()
        self._own = threading.local()  # the id of this thread's statement

        def open_this() -> HttpClient:
            with self._translated_errors(is_opening=True):
                return open_client(address)

        # A user may be waiting: a wrong address should be reported immediately.
        opening_seconds = retry_seconds if retry_seconds > RETRY_SECONDS else 0.0
        self._http = with_retries(open_this, True, opening_seconds)
        super().__init__(self._http)
        self.retry_seconds = retry_seconds
        # Only statements that users write run in a session, so that SET and temporary tables last.
        # A session is locked while a statement runs, even if its client has gone.
        self._session = str(uuid.uuid4())

    @property
    def _session_settings(self) -> Mapping[str, str]:
        self._renew_in_fork()
        return {"session_id": self._session}

    def _named(self) -> dict[str, str]:
        return {"query_id": self._own.query_id}

    def stage(self, rows: pa.Table, folder: Path) -> StagedTable:
        return StagedTable(rows)

    def use_encoder(self, settings: EncoderSettings) -> None:
        pass

    def at(self, host: str) -> ServerConnection:
        return ServerConnection(self.address.at(host))

    def _reopen(self) -> ServerConnection:
        return ServerConnection(self.address, self.retry_seconds)

    def _run(self, action: Callable[[], _T], repeatable: bool) -> _T:
        def translated() -> _T:
            with self._translated_errors():
                return action()

        return with_retries(translated, repeatable, self.retry_seconds)

    @contextmanager
    def _no_time_limit(self) -> Iterator[None]:
        """Wait without a time limit. The client has the system send keep-alive probes, so a machine
        that is gone is noticed."""
        before = self._http.timeout
        self._http.timeout = Timeout(connect=before.connect_timeout, read=None)
        try:
            yield
        finally:
            self._http.timeout = before

    @contextmanager
    def _translated_errors(self, is_opening: bool = False) -> Iterator[None]:
        try:
            with quiet_driver():
                self._renew_in_fork()
                self._own.query_id = str(uuid.uuid4())  # another one each time that it is sent
                with may_be_ended(self._end, self._own.query_id), self._ended_if_interrupted():
                    yield
        except exceptions.Error as error:
            translated = server_error(error, self.address, is_opening)
            # The cause is shown with a traceback: leave it out if it has the password.
            has_password = self.address.redact(str(error)) != str(error)
            raise translated from (None if has_password else error)
        except HTTPError as error:  # while an answer is read that the client passes on unread
            unread = exceptions.OperationalError(str(error))
            unread.__cause__ = error
            raise server_error(unread, self.address) from error

    @contextmanager
    def _ended_if_interrupted(self) -> Iterator[None]:
        query_id = self._own.query_id
        try:
            yield
        except KeyboardInterrupt:
            before, self._http.timeout = self._http.timeout, Timeout(_END_SECONDS)
            with suppress(exceptions.Error, HTTPError):
                self._end(query_id, 0.0)
            self._http.timeout = before
            raise

    def _end(self, query_id: str, _: float) -> None:
        """Have the server end a statement."""
        self._http.command(
            "KILL QUERY WHERE query_id = {query_id:String} ASYNC", {"query_id": query_id}
        )

    def _renew_in_fork(self) -> None:
        """In a process that was forked from the one that connected: connect anew. Answers to both
        would come on the same sockets."""
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        _inherited.append(self._http)
        self._client = self._http = open_client(self.address)
        for name, value in self._kept_settings.items():
            self._client.set_client_setting(name, value)
        self._session = str(uuid.uuid4())

    def _chunks(self, stream: BinaryIO) -> Iterator[bytes]:
        tail = b""
        for chunk in super()._chunks(stream):
            yield chunk
            tail = (tail + chunk)[-_TAIL:]
        if match := _FAILED_MIDWAY.search(tail):
            message = clean_message(match[1].decode("utf-8", "replace"))
            raise EngineError(f"{self.address.shown}: the answer broke off: {message}")


def open_client(address: ServerAddress) -> HttpClient:
    """The driver's client of a server; it repeats no statement by itself."""
    options: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, **address.options}
    answer_seconds = options.pop("send_receive_timeout", _ANSWER_SECONDS)
    client = clickhouse_connect.get_client(
        host=address.host,
        port=address.port,
        username=address.user,
        password=address.password,
        database=address.database,
        interface="https" if address.is_https else "http",
        send_receive_timeout=min(answer_seconds, _OPENING_SECONDS),
        autogenerate_session_id=False,
        query_retries=0,  # engine/retry.py decides what is sent again
        **options,
    )
    assert isinstance(client, HttpClient)
    client.timeout = Timeout(connect=options["connect_timeout"], read=answer_seconds)
    client.http_retries = 0
    return client
