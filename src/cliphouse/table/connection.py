"""One way in for both engines: embedded chDB in a folder, or a ClickHouse server over HTTP."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import tempfile
from collections import Counter
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

from cliphouse.errors import CliphouseError, EngineError, QueryError, TableError

_CHUNK = 2**20
# Errors are told once, as ours; the driver's log would tell them again on standard error.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())

Parameters = Mapping[str, Any]

_open_here: Counter[Path] = Counter()

# What the engine makes in its folder; a process killed early may leave any of it.
_ENGINE_FILES = frozenset(
    (
        *("access", "data", "dictionaries_lib", "disks", "flags", "format_schemas", "metadata"),
        *("metadata_dropped", "named_collections", "preprocessed_configs", "status", "store"),
        *("tmp", "user_defined", "user_files", "user_scripts", "uuid", "workload"),
    )
)

# Codes of ClickHouse errors that the user's own statement or name can cause, from
# src/Common/ErrorCodes.cpp.
_SYNTAX_CODES = frozenset({6, 36, 42, 43, 44, 46, 47, 53, 62, 70, 72, 115, 184, 215, 386, 456, 457})
_MISSING_CODES = frozenset({60, 81})
# What an engine's message says beside the fault: its code, stack, version, and the whole statement.
_NOISE = re.compile(
    r"^(Code: \d+\.\s*)?(DB::Exception:\s*)?"
    r"|,?\s*Stack trace \(when copying.*"
    r"|\s*\(version [^)]*\)"
    r"|\.?\s*In scope .*?(?=\. Maybe you meant|\.? \([A-Z_]+\)\s*$|$)",
    re.DOTALL,
)


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


@dataclass(frozen=True)
class StagedRows:
    """Rows on their way into a table: as they are, or in an Arrow file."""

    columns: tuple[str, ...]
    table: pa.Table | None
    file: Path | None


@dataclass
class Reads:
    """Rows and bytes that the engine read; None where they were not counted."""

    rows: int | None = None
    bytes: int | None = None


class Connection:
    """A ClickHouse client whose errors are cliphouse's own, one clear line each."""

    def __init__(self, address: Address, create: bool = False) -> None:
        """Open the database; ``create`` makes an embedded folder that is not there yet.

        Raises TableError where there is no database, or another process holds it.
        """
        self.address = address
        self._reads: Counter[str] = Counter()
        if address.folder is not None:
            _check_folder(address, address.folder, create)
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
        self._reads["SelectedRows"] += int(result.summary.get("read_rows", 0))
        self._reads["SelectedBytes"] += int(result.summary.get("read_bytes", 0))
        return list(result.named_results())

    @contextmanager
    def counting(self, wanted: bool = True) -> Iterator[Reads]:
        """Counts what the ``rows`` queries inside read, where ``wanted``. (The embedded engine's
        summary of a query counts its result; so all that it reads meanwhile is counted there.)"""
        reads = Reads()
        before = self._read_so_far() if wanted else None
        yield reads
        if before is not None:
            after = self._read_so_far()
            reads.rows = after["SelectedRows"] - before["SelectedRows"]
            reads.bytes = after["SelectedBytes"] - before["SelectedBytes"]

    def _read_so_far(self) -> Counter[str]:
        if not self.is_embedded:
            return Counter(self._reads)
        found = self.query(
            "SELECT event, value FROM system.events "
            "WHERE event IN ('SelectedRows', 'SelectedBytes')"
        )
        return Counter({row["event"]: row["value"] for row in found.to_pylist()})

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

    def close(self) -> None:
        self._client.close()
        if self.address.folder is not None:
            _open_here.subtract([self.address.folder])

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except exceptions.Error as error:
            raise translate(error, self.address) from error


def identifier(name: str) -> str:
    """``name`` quoted for SQL. Raises QueryError where it is no plain table or column name."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        raise QueryError(f"{name!r} is no table name: letters, digits and _ only")
    return f"`{name}`"


def quote(text: str) -> str:
    """A SQL string literal, for statements that take no parameters (comments, DDL, INFILE)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def translate(error: exceptions.Error, address: Address) -> CliphouseError:
    """The engine's error as one line of ours, named for what the user can do about it."""
    message = _one_line(str(error))
    if error.code in _MISSING_CODES:
        return TableError(f"{address.shown}: {message}")
    if error.code in _SYNTAX_CODES:
        return QueryError(message)
    return EngineError(f"{address.shown}: {message}")


def _open(address: Address) -> Client:
    busy = TableError(
        f"{address.shown}: in use by another process; an embedded database has one user at a "
        "time. Wait for it to end, or stop it"
    )
    if address.folder is not None and _is_held_elsewhere(address.folder):
        raise busy
    try:
        client = clickhouse_connect.get_client(dsn=address.dsn)
        if address.folder is not None:
            _open_here[address.folder] += 1
        return client
    except exceptions.Error as error:
        if address.folder is not None and _is_held_elsewhere(address.folder):
            raise busy from error  # it came between the question and the opening
        message = str(error)
        if match := re.search(r"already initialized with path '([^']*)'", message):
            raise TableError(
                f"{address.shown}: this process has {match[1]} open, and an embedded engine holds "
                "one database at a time; close() that one first"
            ) from error
        raise EngineError(f"{address.shown}: cannot be opened: {_one_line(message)}") from error


def _is_held_elsewhere(folder: Path) -> bool:
    """Whether another process holds the engine's lock on its folder.

    Asked beforehand because the engine tells the reason on standard error only, and not where this
    process has the folder open itself, since its own lock would look the same.
    """
    status = folder / "status"
    if _open_here[folder] or not status.exists():
        return False
    with status.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _check_folder(address: Address, folder: Path, create: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise TableError(f"{address.shown}: a file; an embedded database is a folder")
    if not folder.exists() and not create:
        raise TableError(f"{address.shown}: no database here; make one with: cliphouse ingest DIR")
    present = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not {"store", "metadata"} <= present and (others := present - _ENGINE_FILES):
        raise TableError(
            f"{address.shown}: holds {min(others)} and is no database; name another folder"
        )
    parent = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TableError(
            f"{address.shown}: cannot be made in {parent}: {error.strerror}"
        ) from error


def _one_line(message: str) -> str:
    return " ".join(_NOISE.sub("", message).split())
