"""One way in for both engines: embedded chDB in a folder, or a ClickHouse server over HTTP."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
import pyarrow.ipc
from clickhouse_connect.driver import exceptions
from clickhouse_connect.driver.client import Client

from cliphouse.errors import EngineError, QueryError, TableError
from cliphouse.table import embedded
from cliphouse.table.faults import one_line, translate

_CHUNK = 2**20
# Errors are told once, as ours; the driver's log would tell them again on standard error.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Address:
    """Where a database is. ``shown`` is safe to print: it has no password."""

    dsn: str
    shown: str
    folder: Path | None

    @classmethod
    def parse(cls, text: str) -> Address:
        """A plain path is an embedded folder; http:// and https:// are servers."""
        if re.match(r"https?://", text):
            try:
                parts = urlsplit(text)
                port = parts.port or (8443 if parts.scheme == "https" else 8123)
            except ValueError as error:
                raise TableError(f"the database's address is no URL: {error}") from error
            return cls(text, f"{parts.scheme}://{parts.hostname}:{port}{parts.path}", None)
        if "://" in text:
            shown = re.sub(r"//[^/@]*@", "//", text)
            raise TableError(f"{shown}: a database is a folder, or http://user:pw@host:8123/db")
        try:
            folder = Path(text).expanduser().resolve()
        except (RuntimeError, OSError) as error:
            raise TableError(f"{text}: {error}") from error
        if any(letter in str(folder) for letter in "?#"):
            # The engine would take what follows for options, and open another folder.
            raise TableError(f"{text}: the engine takes no folder with ? or # in its path")
        return cls(f"chdb://{folder}", text, folder)

    def at(self, host: str) -> Address:
        """Another server, which is spoken to in the same way; its databases are named in full."""
        parts = urlsplit(self.dsn)
        user, at, here = parts.netloc.rpartition("@")
        _, colon, port = here.rpartition(":")
        there = f"[{host}]" if ":" in host else host
        netloc = f"{user}{at}{there}{colon}{port}"
        return Address.parse(parts._replace(netloc=netloc, path="/system").geturl())


@dataclass(frozen=True)
class StagedRows:
    """Rows on their way into a table: as they are, or in an Arrow file."""

    columns: tuple[str, ...]
    table: pa.Table | None
    file: Path | None


class Connection:
    """A ClickHouse client whose errors are cliphouse's own, one clear line each."""

    def __init__(self, address: Address, create: bool = False) -> None:
        """Open the database; ``create`` makes an embedded folder that is not there yet.

        Raises TableError where there is no database, or another process holds it.
        """
        self.address = address
        if address.folder is not None:
            embedded.check_folder(address.folder, address.shown, create)
        self._client = _open(address)

    @property
    def is_embedded(self) -> bool:
        return self.address.folder is not None

    def command(
        self, sql: str, parameters: Parameters | None = None, settings: Parameters | None = None
    ) -> Any:
        """Run a statement; returns its single value, or a summary."""
        with self._clear_errors():
            return self._client.command(
                sql, parameters=dict(parameters or {}), settings=dict(settings or {})
            )

    def query(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """The result of a query as an Arrow table. Text comes as Arrow string, not validated."""
        with self._clear_errors():
            try:
                return self._client.query_arrow(sql, parameters=dict(parameters or {}))
            except (pa.ArrowException, OSError) as error:
                raise QueryError(
                    "the result cannot be read: give one statement, without FORMAT"
                ) from error

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[dict[str, Any]]:
        """The result of a query as a few rows; text comes as bytes, whatever it holds."""
        with self._clear_errors():
            result = self._client.query(
                sql, parameters=dict(parameters or {}), query_formats={"String": "bytes"}
            )
        return list(result.named_results())

    def raw(self, sql: str, fmt: str | None, parameters: Parameters | None = None) -> bytes:
        """The result of a query in one of ClickHouse's formats; None where it names its own."""
        with self._clear_errors():
            return self._client.raw_query(sql, parameters=dict(parameters or {}), fmt=fmt)

    def stream(self, sql: str, fmt: str, parameters: Parameters) -> Iterator[bytes]:
        """The result of a query in a row-by-row format, in pieces as they come."""
        opened = self._client.raw_stream
        with self._clear_errors(), opened(sql, parameters=dict(parameters), fmt=fmt) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

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
        with self._clear_errors():
            if rows.file is None:
                self._client.insert_arrow(table, rows.table, settings=dict(settings))
                return
            listed = ", ".join(f"{name} = {quote(str(value))}" for name, value in settings.items())
            self._client.command(
                f"INSERT INTO {identifier(table)} ({', '.join(map(identifier, rows.columns))}) "
                f"FROM INFILE {quote(str(rows.file))} SETTINGS {listed} FORMAT Arrow"
            )
            rows.file.unlink()

    def clone(self) -> Connection:
        """Another client on the same database, for another thread."""
        return Connection(self.address)

    def without_dead_shards(self) -> Connection:
        """Another client, whose queries leave out the shards of a cluster that cannot be reached;
        others fail then."""
        other = self.clone()
        other._client.set_client_setting("skip_unavailable_shards", 1)
        return other

    def at(self, host: str) -> Connection:
        """A client of another node of the cluster."""
        return Connection(self.address.at(host))

    def close(self) -> None:
        self._client.close()
        if self.address.folder is not None:
            embedded.leave(self.address.folder)

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except exceptions.Error as error:
            raise translate(error, self.address.shown) from error


def identifier(name: str) -> str:
    """``name`` quoted for SQL. Raises QueryError where it is no plain table or column name."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        raise QueryError(f"{name!r} is no table name: letters, digits and _ only")
    return f"`{name}`"


def backquote(name: str) -> str:
    """Any name quoted for SQL, whatever it holds: those of databases and columns of one's own."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quote(text: str) -> str:
    """A SQL string literal, for statements that take no parameters (comments, DDL, INFILE)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _open(address: Address) -> Client:
    if address.folder is not None:
        return embedded.open_client(address.folder, address.shown)
    try:
        return clickhouse_connect.get_client(dsn=address.dsn)
    except exceptions.Error as error:
        raise EngineError(f"{address.shown}: cannot be opened: {one_line(str(error))}") from error
