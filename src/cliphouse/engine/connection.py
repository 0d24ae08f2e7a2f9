"""One way in for both engines: embedded chDB in a folder, or a ClickHouse server over HTTP."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import clickhouse_connect
import pyarrow as pa
import pyarrow.ipc
from clickhouse_connect.driver import exceptions
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from cliphouse.engine import embedded
from cliphouse.engine.address import Address
from cliphouse.engine.error_translation import is_safe, one_line, translate
from cliphouse.engine.features import SKIP_SHARDS, Features, read_features
from cliphouse.engine.quoting import identifier, quote
from cliphouse.engine.retry import SHORT, is_repeatable, persist
from cliphouse.engine.statements import only_reads, returns_rows
from cliphouse.errors import EngineError, QueryError

_CHUNK = 2**20
# How long a server may take to be connected, to say what it is, and to send the next bytes of an
# answer (while it computes it sends some headers, where the user may change that setting).
_CONNECT_SECONDS, _OPENING_SECONDS, _ANSWER_SECONDS = 10, 30, 300
# A server that fails in the middle of an answer says so at its end, those before 25.11 without the
# line that begins it.
_TAIL = 16_384
_FAILED_MIDWAY = re.compile(
    rb"(?:^|\n)(Code: \d+\. DB::Exception: [^\n]*)\n(?:\d+ \w+\r\n__exception__\r\n)?\Z"
)
_T = TypeVar("_T")
# Errors are told once, as ours; the driver's log would tell them again on standard error.
for name in ("clickhouse_connect", "urllib3"):
    logging.getLogger(name).addHandler(logging.NullHandler())

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class StagedRows:
    """Rows on their way into a table: as they are, or in an Arrow file."""

    columns: tuple[str, ...]
    table: pa.Table | None
    file: Path | None


class Connection:
    """A ClickHouse client whose errors are cliphouse's own, one clear line each.

    Where a server does not answer, statements that may be sent twice are sent again (see
    cliphouse.engine.retry) for ``patience`` seconds.
    """

    def __init__(self, address: Address, create: bool = False, patience: float = SHORT) -> None:
        """Open the database; ``create`` makes an embedded folder that is not there yet.

        Raises TableError where there is no database, another process holds it, or a server does not
        let this user in, UnreachableError where no server answers.
        """
        self.address = address
        if address.folder is not None:
            embedded.check_folder(address.folder, address.shown, create)
        self._is_opening = True
        # A wrong address ought to be told at once, where somebody waits.
        self.patience = patience if patience > SHORT else 0.0
        self._client = self._persist(lambda: _open(address), repeatable=True)
        self._is_opening, self.patience = False, patience
        self._kept: dict[str, int | str] = {}
        self.is_without_dead_shards = False
        # For statements that users give, so that SET and temporary tables last. Others have none: a
        # session is locked while a statement runs that nobody waits for any more.
        self._session = {} if self.is_embedded else {"session_id": str(uuid.uuid4())}

    @property
    def is_embedded(self) -> bool:
        return self.address.folder is not None

    @cached_property
    def features(self) -> Features:
        """What the engine has, and which settings may be changed; asked once."""
        return read_features(lambda sql, given: self.query(sql, given).to_pylist())

    def command(
        self,
        sql: str,
        parameters: Parameters | None = None,
        settings: Parameters | None = None,
        in_session: bool = False,
    ) -> Any:
        """Run a statement; returns its single value, or a summary. What changes something may take
        as long as it likes. ``in_session`` is for statements of the user's own."""
        given = dict(settings or {}) | (self._session if in_session else {})

        def run() -> Any:
            return self._client.command(sql, parameters=dict(parameters or {}), settings=given)

        with nullcontext() if returns_rows(sql) else self._without_hurry():
            # Of what users write, only what reads is repeated.
            again = only_reads(sql) if in_session else is_repeatable(sql, given)
            return self._persist(run, again)

    def query(
        self, sql: str, parameters: Parameters | None = None, in_session: bool = False
    ) -> pa.Table:
        """The result of a query as an Arrow table. Text comes as Arrow string, not validated."""

        def run() -> pa.Table:
            try:
                return self._client.query_arrow(
                    sql, parameters=dict(parameters or {}), settings=settings
                )
            except (pa.ArrowException, OSError) as error:
                raise QueryError(
                    "the result cannot be read: give one statement, without FORMAT"
                ) from error

        settings = dict(self._session) if in_session else {}
        with self._without_hurry() if in_session else nullcontext():
            return self._persist(run, only_reads(sql))

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[dict[str, Any]]:
        """The result of a query as a few rows; text comes as bytes, whatever it holds."""

        def run() -> list[dict[str, Any]]:
            result = self._client.query(
                sql, parameters=dict(parameters or {}), query_formats={"String": "bytes"}
            )
            return list(result.named_results())

        return self._persist(run, repeatable=True)

    def raw(self, sql: str, parameters: Parameters | None = None) -> bytes:
        """The result of a query of the user's own in the format that it names itself."""

        def run() -> bytes:
            return self._client.raw_query(
                sql, parameters=dict(parameters or {}), settings=dict(self._session)
            )

        with self._without_hurry():
            return self._persist(run, only_reads(sql))

    def stream(self, sql: str, fmt: str, parameters: Parameters) -> Iterator[bytes]:
        """The result of a query in a row-by-row format, in pieces as they come.

        Raises UnreachableError where it breaks off, also after most of it.
        """
        opened = self._client.raw_stream
        tail = b""
        with self._clear_errors(), opened(sql, parameters=dict(parameters), fmt=fmt) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
                tail = (tail + chunk)[-_TAIL:]
        if not self.is_embedded and (match := _FAILED_MIDWAY.search(tail)):
            said = one_line(match[1].decode("utf-8", "replace"))
            raise EngineError(f"{self.address.shown}: the answer broke off: {said}")

    def stage(self, rows: pa.Table, folder: Path) -> StagedRows:
        """``rows`` ready for ``insert``: for the embedded engine in a file below ``folder``.

        Done by the thread that reads ahead, this spares the inserting one two copies of the rows.
        """
        if not self.is_embedded:
            return StagedRows(tuple(rows.column_names), rows, None)
        descriptor, name = tempfile.mkstemp(".arrow", dir=folder)
        os.close(descriptor)
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        return StagedRows(tuple(rows.column_names), None, Path(name))

    def insert(self, table: str, rows: StagedRows, settings: Parameters) -> None:
        """Insert rows in one acknowledged block."""
        if rows.file is None:

            def run() -> None:
                self._client.insert_arrow(table, rows.table, settings=dict(settings))

            self._persist(run, is_repeatable("INSERT", settings))
            return
        given = ", ".join(f"{name} = {quote(str(value))}" for name, value in settings.items())
        with self._clear_errors():
            self._client.command(
                f"INSERT INTO {identifier(table)} ({', '.join(map(identifier, rows.columns))}) "
                f"FROM INFILE {quote(str(rows.file))} SETTINGS {given} FORMAT Arrow"
            )
        rows.file.unlink()

    def clone(self) -> Connection:
        """Another client on the same database, for another thread."""
        other = Connection(self.address, patience=self.patience)
        for name, value in self._kept.items():
            other.keep_setting(name, value)
        if "features" in vars(self):  # asked already, of the same user
            other.features = self.features
        return other

    def keep_setting(self, name: str, value: int | str) -> None:
        """Send a setting with every statement from now on, by clones too."""
        self._kept[name] = value
        self._client.set_client_setting(name, value)

    def without_dead_shards(self) -> Connection:
        """Another client, whose queries leave out the shards of a cluster that cannot be reached;
        others fail then."""
        other = self.clone()
        other.is_without_dead_shards = True
        if self.features.may_set(SKIP_SHARDS, 1):
            other.keep_setting(SKIP_SHARDS, 1)
        return other

    def at(self, host: str) -> Connection:
        """A client of another node of the cluster."""
        return Connection(self.address.at(host))

    def close(self) -> None:
        self._client.close()
        if self.address.folder is not None:
            embedded.leave(self.address.folder)

    def _persist(self, action: Callable[[], _T], repeatable: bool) -> _T:
        def told() -> _T:
            with self._clear_errors():
                return action()

        return told() if self.is_embedded else persist(told, repeatable, self.patience)

    @contextmanager
    def _without_hurry(self) -> Iterator[None]:
        """Wait without end for what takes minutes or hours; that the machine there is gone is found
        out all the same, since the client has the system ask for signs of life."""
        client = self._client
        if not isinstance(client, HttpClient):
            yield
            return
        before = client.timeout
        client.timeout = Timeout(connect=before.connect_timeout, read=None)
        try:
            yield
        finally:
            client.timeout = before

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except exceptions.Error as error:
            found = translate(error, self.address, self._is_opening)
            raise found from (error if is_safe(error, self.address) else None)
        except HTTPError as error:  # in what the client hands over unread
            unread = exceptions.OperationalError(str(error))
            unread.__cause__ = error
            raise translate(unread, self.address) from error


def _open(address: Address) -> Client:
    if address.folder is not None:
        return embedded.open_client(address.folder, address.shown)
    server = address.server
    assert server is not None
    options: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, **server.options}
    patient = options.pop("send_receive_timeout", _ANSWER_SECONDS)
    client = clickhouse_connect.get_client(
        host=server.host,
        port=server.port,
        username=server.user,
        password=server.password,
        database=server.database,
        interface="https" if server.is_https else "http",
        send_receive_timeout=min(patient, _OPENING_SECONDS),
        autogenerate_session_id=False,
        query_retries=0,  # what may be sent again is decided here
        **options,
    )
    assert isinstance(client, HttpClient)
    client.timeout = Timeout(connect=options["connect_timeout"], read=patient)
    client.http_retries = 0
    return client
