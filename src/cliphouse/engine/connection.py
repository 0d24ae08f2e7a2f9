"""The contract of a database connection, which the embedded engine and a server both keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar, cast

from cliphouse.engine.address import Address
from cliphouse.engine.features import SKIP_SHARDS, Features, read_features
from cliphouse.engine.quoting import identifier, quote
from cliphouse.engine.retry import RETRY_SECONDS, is_repeatable
from cliphouse.engine.staging import StagedFile, StagedRows
from cliphouse.engine.statements import only_reads, returns_rows
from cliphouse.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

    from cliphouse.udf import EncoderSettings

FORMAT_HEADER = "X-ClickHouse-Format"  # of a request: the format of a result without a FORMAT
_CHUNK = 2**20
_T = TypeVar("_T")

Parameters = Mapping[str, Any]


class Connection(ABC):
    """An open ClickHouse database. Its methods raise cliphouse's own errors, of one line each.

    If a server does not answer, statements that may be sent twice are sent again for
    ``retry_seconds`` (see cliphouse.engine.retry). Make a connection with open_connection.
    """

    is_embedded: ClassVar[bool]
    is_alone: ClassVar[bool] = False  # whether the engine's counters count nobody else's statements
    is_served: ClassVar[bool] = False  # whether it goes through a service, which has the engine
    address: Address

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept_settings: dict[str, int | str] = {}
        self.retry_seconds = RETRY_SECONDS

    @cached_property
    def features(self) -> Features:
        """What the engine can do, and which settings this user may change; read once."""
        return read_features(lambda sql, given: self.query(sql, given).to_pylist())

    @property
    def changes(self) -> int | None:
        """How often the database may have been changed; None if other processes can change it."""
        return None

    @property
    def _session_settings(self) -> Mapping[str, str]:
        """What is sent with statements that the user wrote, so that SET lasts."""
        return {}

    def _named(self) -> dict[str, str]:
        """What is sent with the statement that runs now, so that it can be ended."""
        return {}

    def command(
        self,
        sql: str,
        parameters: Parameters | None = None,
        settings: Parameters | None = None,
        in_session: bool = False,
    ) -> Any:
        """Run a statement; returns its single value, or a summary.

        A statement that changes something has no time limit. ``in_session`` marks a statement that
        the user wrote: it sees what the user's statements before it have SET and made temporarily.
        """
        given = dict(settings or {}) | (dict(self._session_settings) if in_session else {})

        def run() -> Any:
            sent = given | self._named()
            return self._client.command(sql, parameters=dict(parameters or {}), settings=sent)

        # A user's own statement is repeated only if it reads: nothing is known of its effects.
        repeatable = only_reads(sql) if in_session else is_repeatable(sql, given)
        with nullcontext() if returns_rows(sql) else self._no_time_limit():
            return self._run(run, repeatable)

    def query(
        self,
        sql: str,
        parameters: Parameters | None = None,
        in_session: bool = False,
    ) -> pa.Table:
        """The result of a query as an Arrow table. Text comes as Arrow strings, not validated.
        ``in_session`` as in ``command``."""
        given = dict(self._session_settings) if in_session else {}

        import pyarrow as pa

        def run() -> pa.Table:
            try:
                return self._client.query_arrow(
                    sql, parameters=dict(parameters or {}), settings=given | self._named()
                )
            except (pa.ArrowException, OSError) as error:
                raise QueryError(
                    "the result cannot be read: give one statement, without FORMAT"
                ) from error

        with self._no_time_limit() if in_session else nullcontext():
            return self._run(run, only_reads(sql))

    def columns(self, sql: str, parameters: Parameters | None = None) -> dict[str, Sequence[Any]]:
        """The result of a query of few rows, by its columns; empty if there are no rows. Text comes
        as bytes, valid UTF-8 or not. It takes half a millisecond less than ``query``."""

        def run() -> dict[str, Sequence[Any]]:
            result = self._client.query(
                sql,
                parameters=dict(parameters or {}),
                settings=self._named(),
                query_formats={"String": "bytes"},
                column_oriented=True,
            )
            return dict(zip(result.column_names, result.result_columns, strict=False))

        return self._run(run, repeatable=True)

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[dict[str, Any]]:
        """The result of a query of few rows; text comes as bytes, valid UTF-8 or not."""
        found = self.columns(sql, parameters)
        return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]

    def raw(
        self,
        sql: str,
        parameters: Parameters | None = None,
        settings: Parameters | None = None,
        fmt: str | None = None,
    ) -> bytes:
        """What a statement that the user wrote gives, in the FORMAT that it names or else in
        ``fmt``; empty if it gives nothing, as CREATE.

        Nothing is appended to the statement, which may end in something that takes no FORMAT, or
        takes it for its own."""
        given = dict(settings or {}) | dict(self._session_settings)
        headers = {} if fmt is None else {FORMAT_HEADER: fmt}

        def run() -> bytes:
            sent = given | self._named()
            return self._client.raw_query(
                sql, parameters=dict(parameters or {}), settings=sent, transport_settings=headers
            )

        with self._no_time_limit():
            return self._run(run, only_reads(sql))

    def stream(self, sql: str, fmt: str, parameters: Parameters) -> Generator[bytes]:
        """The result of a query in a row-by-row format, in pieces as they arrive.

        Raises UnreachableError if the connection breaks off before the end, and EngineError if the
        query fails after its first rows.
        """
        given = dict(parameters)
        with (
            self._translated_errors(),
            self._client.raw_stream(sql, given, self._named(), fmt) as stream,
        ):
            yield from self._chunks(cast(BinaryIO, stream))

    @abstractmethod
    def stage(self, rows: pa.Table, folder: Path) -> StagedRows:
        """Prepare ``rows`` for ``insert``; files are made in ``folder``.

        A thread that prepares the next rows spares the inserting thread two copies of them.
        """

    def insert(self, table: str, rows: StagedRows, settings: Parameters) -> None:
        """Insert rows in one acknowledged block."""
        if isinstance(rows, StagedFile):
            self._insert_file(table, rows, settings)
            return
        staged = rows.rows

        def run() -> None:
            sent = dict(settings) | self._named()
            self._client.insert_arrow(table, staged, settings=sent)

        self._run(run, is_repeatable("INSERT", settings))

    def clone(self) -> Connection:
        """Another connection to the same database, for another thread."""
        other = self._reopen()
        for name, value in self._kept_settings.items():
            other.keep_setting(name, value)
        if "features" in vars(self):  # they are of the same user: no need to read them again
            other.features = self.features
        return other

    def keep_setting(self, name: str, value: int | str) -> None:
        """Send a setting with every statement from now on, also with those of clones."""
        self._kept_settings[name] = value
        self._client.set_client_setting(name, value)

    def without_dead_shards(self) -> Connection:
        """Another connection, whose queries leave out a cluster's shards that cannot be reached.

        Queries of other connections fail then.
        """
        other = self.clone()
        if self.features.may_set(SKIP_SHARDS, 1):
            other.keep_setting(SKIP_SHARDS, 1)
        return other

    @abstractmethod
    def use_encoder(self, settings: EncoderSettings) -> None:
        """Let encode_text and encode_image use ``settings`` from their next call on. A server has
        its own."""

    @abstractmethod
    def at(self, host: str) -> Connection:
        """A connection to another node of the cluster. Raises EngineError if there is no other."""

    def close(self) -> None:
        """Close the connection; no method may be called afterwards."""
        self._client.close()

    @abstractmethod
    def _reopen(self) -> Connection:
        """A new connection to the same address, without this one's settings."""

    @abstractmethod
    def _run(self, action: Callable[[], _T], repeatable: bool) -> _T:
        """What ``action`` returns, with its errors translated. A ``repeatable`` action may be run
        again if the server does not answer."""

    @abstractmethod
    def _translated_errors(self) -> AbstractContextManager[None]:
        """Turn the driver's errors into cliphouse's own."""

    def _no_time_limit(self) -> AbstractContextManager[None]:
        """Wait without a time limit for statements that take minutes or hours."""
        return nullcontext()

    def _chunks(self, stream: BinaryIO) -> Iterator[bytes]:
        while chunk := stream.read(_CHUNK):
            yield chunk

    def _insert_file(self, table: str, rows: StagedFile, settings: Parameters) -> None:
        given = ", ".join(f"{name} = {quote(str(value))}" for name, value in settings.items())
        with self._translated_errors():
            self._client.command(
                f"INSERT INTO {identifier(table)} ({', '.join(map(identifier, rows.columns))}) "
                f"FROM INFILE {quote(str(rows.file))} SETTINGS {given} FORMAT Arrow"
            )
        rows.file.unlink()
