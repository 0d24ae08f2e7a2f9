"""A connection to an embedded engine that a service of the same user has open, for reading."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import clickhouse_connect
import httpx
import pyarrow as pa
from clickhouse_connect.driver import exceptions
from clickhouse_connect.driver.httpclient import HttpClient
from clickhouse_connect.driver.httputil import get_pool_manager
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from cliphouse.engine.address import FolderAddress
from cliphouse.engine.connection import Connection, Parameters
from cliphouse.engine.door import HOST, Door
from cliphouse.engine.driver_log import quiet_driver
from cliphouse.engine.error_translation import clean_message, engine_error
from cliphouse.engine.features import EVERYTHING, Features
from cliphouse.engine.refusal import MissingTableError
from cliphouse.engine.staging import StagedRows
from cliphouse.engine.statements import tables_read
from cliphouse.errors import CliphouseError, EngineError, ServiceError, TableError, error_class
from cliphouse.udf import EncoderSettings

_CONNECT_SECONDS = 5.0
_NO_GRANT, _READ_ONLY = 497, 164
_T = TypeVar("_T")


class ServedConnection(Connection):
    """A connection through the service that has the folder open. Statements may only read."""

    is_embedded = True
    is_served = True
    address: FolderAddress

    def __init__(self, address: FolderAddress, door: Door) -> None:
        """Raises ServiceError if the service does not answer."""
        self.address, self._door = address, door
        self._process = os.getpid()
        self._session = f"/sessions/{self._process}-{uuid.uuid4()}"
        self._encoder: EncoderSettings | None = None
        with self._translated_errors():
            super().__init__(_open_client(door, self._session))

    @cached_property
    def features(self) -> Features:
        return replace(EVERYTHING, version=str(self._client.server_version))

    def command(
        self,
        sql: str,
        parameters: Parameters | None = None,
        settings: Parameters | None = None,
        in_session: bool = False,
    ) -> Any:
        self._send_encoder(sql)
        with self._named_tables(sql):
            return super().command(sql, parameters, settings, in_session)

    def query(
        self, sql: str, parameters: Parameters | None = None, in_session: bool = False
    ) -> pa.Table:
        self._send_encoder(sql)
        with self._named_tables(sql):
            return super().query(sql, parameters, in_session)

    def columns(self, sql: str, parameters: Parameters | None = None) -> dict[str, Sequence[Any]]:
        with self._named_tables(sql):
            return super().columns(sql, parameters)

    def raw(
        self,
        sql: str,
        parameters: Parameters | None = None,
        settings: Parameters | None = None,
        fmt: str | None = None,
    ) -> bytes:
        self._send_encoder(sql)
        with self._named_tables(sql):
            return super().raw(sql, parameters, settings, fmt)

    def use_encoder(self, settings: EncoderSettings) -> None:
        self._encoder = settings

    def do(self, job: Mapping[str, Any], hear: Callable[[dict[str, Any]], None]) -> Any:
        """Have the service do a job (see cliphouse.jobs); ``hear`` gets what it tells meanwhile. If
        this is interrupted, the job is.

        Raises the error that the job fails with, UserError if another job is being done, and
        ServiceError if the service ends.
        """
        url, told = f"http://{self._door.host}/jobs", {**job, "process": self._process}
        with self._http(None) as http:
            try:
                with http.stream("POST", url, json=told) as response:
                    for line in response.iter_lines():
                        event = json.loads(line) if line else {}
                        if "done" in event:
                            return event["done"]
                        if "error" in event:
                            raise self._failed_job(**event["error"])
                        hear(event)
            except httpx.HTTPError as error:
                raise self._gone(error) from error
        raise ServiceError(f"{self.address.shown}: the service ended before the job was done")

    def stage(self, rows: pa.Table, folder: Path) -> StagedRows:
        raise self._only_reads()

    def insert(self, table: str, rows: StagedRows, settings: Parameters) -> None:
        raise self._only_reads()

    def at(self, host: str) -> Connection:
        raise EngineError(f"{self.address.shown}: an embedded database has no other node {host}")

    def close(self) -> None:
        if self._process == os.getpid():
            with suppress(ServiceError):
                self._ask("DELETE")
            super().close()

    def _reopen(self) -> ServedConnection:
        return ServedConnection(self.address, self._door)

    def _run(self, action: Callable[[], _T], repeatable: bool) -> _T:
        with self._translated_errors():
            return action()

    def _send_encoder(self, sql: str) -> None:
        """The service has the encoder for SQL, but the caller's model and folder count."""
        if "encode_" in sql and self._encoder is not None:
            self._ask("PUT", "/encoder", self._encoder.to_json())
            self._encoder = None

    def _ask(self, method: str, path: str = "", content: str | None = None) -> str:
        url = f"http://{self._door.host}{self._session}{path}"
        with self._http(_CONNECT_SECONDS) as http:
            try:
                return http.request(method, url, content=content).raise_for_status().text
            except httpx.HTTPError as error:
                raise self._gone(error) from error

    def _http(self, seconds: float | None) -> httpx.Client:
        """A client that waits for ``seconds``. It uses no proxy of the environment."""
        headers = {"Authorization": f"Bearer {self._door.token}"}
        timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
        return httpx.Client(trust_env=False, headers=headers, timeout=timeout)

    def _gone(self, error: Exception) -> ServiceError:
        return ServiceError(
            f"{self.address.shown}: the service at {self._door.service} (pid {self._door.pid}), "
            f"which has it open, does not answer: {type(error).__name__}; run the command again"
        )

    def _failed_job(self, code: str, message: str) -> CliphouseError:
        return (error_class(code) or ServiceError)(message)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        if self._process != os.getpid():
            raise TableError(
                f"{self.address.shown}: was opened before this process was forked, and answers to "
                "both would be mixed up: open it again"
            )
        try:
            with quiet_driver():
                yield
        except exceptions.Error as error:
            if error.code is None:
                raise self._broken_off() from error
            raise self._translated(str(error), error.code) from error
        except HTTPError as error:  # while an answer is read
            raise self._broken_off() from error

    def _broken_off(self) -> CliphouseError:
        """Why an answer has no end, which its beginning could not say."""
        message = self._ask("GET", "/failure")
        if not message:
            return ServiceError(f"{self.address.shown}: the service's answer broke off; try again")
        match = re.search(r"Code: (\d+)", message)
        return self._translated(message, int(match[1]) if match else None)

    def _translated(self, message: str, code: int | None) -> CliphouseError:
        if code == _NO_GRANT and re.search(r"\bREAD ON FILE\b", message):
            return self._no_file()
        if code in (_READ_ONLY, _NO_GRANT):
            return self._only_reads(clean_message(message))
        return engine_error(message, code, self.address.shown)

    def _no_file(self) -> MissingTableError:
        """The engine takes for a file what is no table, and does not say what it is."""
        problem = self._reads_alone("there is no such table, and files are not read")
        return MissingTableError(self.address.shown, problem, None)

    @contextmanager
    def _named_tables(self, sql: str) -> Iterator[None]:
        """Give the error of a table that does not exist its name, if it is found in ``sql``."""
        try:
            yield
        except MissingTableError as error:
            if error.name is not None:
                raise
            for name in tables_read(sql):
                if not self._has_table(name):
                    raise MissingTableError(
                        self.address.shown, f"there is no table {name}", name
                    ) from error
            raise

    def _has_table(self, name: str) -> bool:
        found = super().query(
            "SELECT count() AS n FROM system.tables WHERE name = {name:String}",
            {"name": name.rpartition(".")[2]},
        )
        return bool(found.column("n")[0].as_py())

    def _only_reads(self, refusal: str = "") -> TableError:
        return TableError(f"{self.address.shown}: {self._reads_alone(refusal)}")

    def _reads_alone(self, refusal: str) -> str:
        why = f" ({refusal})" if refusal else ""
        return (
            f"served at {self._door.service} by process {self._door.pid}, "
            f"through which statements can only read tables{why}: stop the service to do more"
        )


def _open_client(door: Door, session: str) -> HttpClient:
    client = clickhouse_connect.get_client(
        host=HOST,
        port=door.port,
        interface="http",
        access_token=door.token,
        proxy_path=session,
        compress=False,
        query_retries=0,
        form_encode_query_params=True,  # vectors are long
        pool_mgr=get_pool_manager(),  # the driver's own would use a proxy of the environment
    )
    assert isinstance(client, HttpClient)
    client.timeout = Timeout(connect=_CONNECT_SECONDS, read=None)
    client.http_retries = 0
    return client
