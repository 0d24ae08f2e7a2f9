"""A database that is opened when it is first needed, and its connection while it is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from cliphouse.engine.address import Address, FolderAddress
from cliphouse.engine.connection import Connection
from cliphouse.engine.door import read_door
from cliphouse.engine.folder import is_database, require_database
from cliphouse.engine.occupant import PATIENCE, Patience
from cliphouse.engine.opening import open_connection
from cliphouse.engine.retry import RETRY_TIMES, RetryTimes
from cliphouse.errors import UnreachableError
from cliphouse.vocabulary import Codes, Precision

if TYPE_CHECKING:
    from cliphouse.engine.served_connection import ServedConnection

GOES_ON = "run the same command again: it goes on where it stopped"
AGAIN = "run the same command again"


class Database:
    """The database at ``address``; ``prepare`` is called with the connection when it is opened."""

    def __init__(
        self,
        address: Address,
        prepare: Callable[[Connection], None],
        retry: RetryTimes = RETRY_TIMES,
        patience: Patience = PATIENCE,
    ) -> None:
        self.address = address
        self._patience = patience
        self._prepare = prepare
        self._open: Connection | None = None
        self._retry = retry
        self._retry_seconds = retry.short

    @property
    def exists(self) -> bool:
        """Whether there is a database: a server has one always, be it that no table is in it."""
        return not isinstance(self.address, FolderAddress) or is_database(self.address.folder)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, which has been needed before."""
        return self._open is not None

    @property
    def connection(self) -> Connection:
        """The open connection. Raises TableError if there is no database or another process has it
        open, UnreachableError if no server answers."""
        if self._open is None:
            self._open = self._connect()
            self._prepare(self._open)
        return self._open

    @property
    def served(self) -> ServedConnection | None:
        """The connection, if it goes through a service, which alone can write then."""
        address = self.address
        if self._open is None and (
            not isinstance(address, FolderAddress)
            or self._patience.for_engine
            or read_door(address.folder) is None
        ):
            return None
        connection = self.connection
        return cast("ServedConnection", connection) if connection.is_served else None

    def require(self) -> None:
        """Raises TableError if there is no database, without opening it."""
        if self._open is None and isinstance(self.address, FolderAddress):
            require_database(self.address)

    def create(self) -> Connection:
        """The open connection, of a folder that is made if it does not exist."""
        if self._open is None:
            self._open = self._connect(create=True)
        return self._open

    def create_for(self, precision: Precision | None, codes: Codes | None) -> Connection:
        """The open connection as `create` gives it, to make a table with vectors of ``precision``
        and with ``codes``. Raises TableError if the server cannot keep these."""
        connection = self.create()
        if not connection.is_embedded:
            connection.features.require(self.address.shown, precision or "float32", codes or "none")
        return connection

    def close(self) -> None:
        """Let go of the database, so that another process can have it."""
        if self._open is not None:
            self._open.close()
            self._open = None

    @contextmanager
    def long_retries(self, advice: str) -> Iterator[None]:
        """In this context a server may be away for a while, as is right for long work. If it stays
        away, the error ends with ``advice``."""
        self._set_retry_seconds(self._retry.long)
        try:
            yield
        except UnreachableError as error:
            raise UnreachableError(f"{error}; {advice}", error.may_have_run) from error
        finally:
            self._set_retry_seconds(self._retry.short)

    def _connect(self, create: bool = False) -> Connection:
        return open_connection(self.address, create, self._retry_seconds, self._patience)

    def _set_retry_seconds(self, seconds: float) -> None:
        self._retry_seconds = seconds
        if self._open is not None:
            self._open.retry_seconds = seconds
