"""A connection to the embedded engine of this process."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from clickhouse_connect.driver import exceptions

from cliphouse.engine import embedded
from cliphouse.engine.address import FolderAddress
from cliphouse.engine.connection import Connection, Parameters
from cliphouse.engine.driver_log import quiet_driver
from cliphouse.engine.error_translation import engine_error
from cliphouse.engine.features import EVERYTHING, Features
from cliphouse.engine.folder import check_folder
from cliphouse.engine.quoting import settings_list
from cliphouse.engine.running import may_be_ended
from cliphouse.engine.staging import StagedFile, StagedRows, write_staged_file
from cliphouse.engine.statements import only_reads
from cliphouse.errors import EngineError
from cliphouse.udf import EncoderSettings

_T = TypeVar("_T")
# Statements by which room can be made, and those that write nothing.
_NEEDS_NO_ROOM = re.compile(r"\s*(DROP|TRUNCATE|SET|USE|SYSTEM|KILL)\b", re.IGNORECASE)
# The engine compiles an expression when it is used for the third time, which takes 30 ms, and does
# so again each time that it is started. Over ten million rows compiled ones are no faster.
COMPILING = (
    *("compile_expressions", "compile_aggregate_expressions", "compile_sort_description"),
    "compile_regular_expressions",
)


class EmbeddedConnection(Connection):
    """A connection to the engine in this process. It always answers, so nothing is sent again."""

    is_embedded = True
    is_alone = True
    address: FolderAddress

    def __init__(self, address: FolderAddress, create: bool = False) -> None:
        """Open the database's folder; ``create`` makes it if it does not exist.

        Raises TableError if there is no database, another process has it open, or this one was
        forked from one that had used the engine.
        """
        self.address = address
        check_folder(address, create)
        with quiet_driver():
            super().__init__(embedded.open_client(address))
            self._client.command(f"SET {settings_list(dict.fromkeys(COMPILING, 0))}")

    @cached_property
    def features(self) -> Features:
        """All that there are: the engine comes with the package, and nobody restricts its user."""
        return replace(EVERYTHING, version=str(self._client.server_version))

    @property
    def changes(self) -> int:
        return embedded.changes(self.address.folder)

    def command(
        self,
        sql: str,
        parameters: Parameters | None = None,
        settings: Parameters | None = None,
        in_session: bool = False,
    ) -> Any:
        if settings and not in_session and sql.startswith("INSERT INTO"):
            # The driver would set them, and set them back, by two statements for each.
            sql, settings = f"{sql} SETTINGS {settings_list(settings)}", None
        with self._may_change(sql):
            return super().command(sql, parameters, settings, in_session)

    def raw(
        self,
        sql: str,
        parameters: Parameters | None = None,
        settings: Parameters | None = None,
        fmt: str | None = None,
    ) -> bytes:
        with self._may_change(sql):
            return super().raw(sql, parameters, settings, fmt)

    def insert(self, table: str, rows: StagedRows, settings: Parameters) -> None:
        try:
            super().insert(table, rows, settings)
        finally:
            embedded.note_change(self.address.folder)

    def stage(self, rows: pa.Table, folder: Path) -> StagedFile:
        return write_staged_file(rows, folder)

    def use_encoder(self, settings: EncoderSettings) -> None:
        embedded.set_encoder(settings)

    def at(self, host: str) -> Connection:
        raise EngineError(f"{self.address.shown}: an embedded database has no other node {host}")

    def close(self) -> None:
        if embedded.is_forked():
            return
        super().close()
        embedded.leave(self.address.folder)

    def _reopen(self) -> EmbeddedConnection:
        return EmbeddedConnection(self.address)

    def _run(self, action: Callable[[], _T], repeatable: bool) -> _T:
        with self._translated_errors():
            return action()

    @contextmanager
    def _may_change(self, sql: str) -> Iterator[None]:
        """Run a statement that may change the database. Raises DiskError if the disk is full: an
        ALTER would leave the table's definition empty, without which the folder cannot be opened.
        """
        if only_reads(sql):
            yield
            return
        if not _NEEDS_NO_ROOM.match(sql):
            embedded.require_room(self.address)
        try:
            yield
        finally:
            embedded.note_change(self.address.folder)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        embedded.check_process(self.address.shown)
        try:
            with quiet_driver(), may_be_ended(embedded.end_statements, str(self.address.folder)):
                yield
        except KeyboardInterrupt:
            self._discard_partial_answer()
            raise
        except exceptions.Error as error:
            self._discard_partial_answer()
            raise engine_error(str(error), error.code, self.address.shown) from error

    def _discard_partial_answer(self) -> None:
        """Run a query whose answer is not read.

        The engine keeps the part of the answer that a failed query has written, and the client's
        next answer begins with it.
        """
        with suppress(exceptions.Error):
            self._client.raw_query("SELECT 1")
