"""Opening the database at an address: a folder or a server."""

from __future__ import annotations

from cliphouse.engine.address import Address, FolderAddress
from cliphouse.engine.connection import Connection
from cliphouse.engine.door import read_door
from cliphouse.engine.occupant import PATIENCE, OccupiedError, Patience
from cliphouse.engine.retry import RETRY_SECONDS
from cliphouse.errors import ServiceError


def open_connection(
    address: Address,
    create: bool = False,
    retry_seconds: float = RETRY_SECONDS,
    patience: Patience = PATIENCE,
) -> Connection:
    """Open the database at ``address``; ``create`` makes a folder that does not exist. A folder
    that a service has open is read through it, unless the ``patience`` is for the engine itself;
    one that another process has open is waited for.

    Raises TableError if there is no database, another process has it open all the time, or a
    server does not let this user in, and UnreachableError if no server answers.
    """
    if isinstance(address, FolderAddress):
        return _open_folder(address, create, patience)
    from cliphouse.engine.server_connection import ServerConnection

    return ServerConnection(address, retry_seconds)


def _open_folder(address: FolderAddress, create: bool, patience: Patience) -> Connection:
    from cliphouse.engine.embedded_connection import EmbeddedConnection

    for is_time_left in patience.attempts(address.folder):
        try:
            return EmbeddedConnection(address, create)
        except OccupiedError:
            served = None if patience.for_engine else _through_service(address)
            if served is not None:
                return served
            if not is_time_left:
                raise
    raise AssertionError("the last attempt returns or raises")


def _through_service(address: FolderAddress) -> Connection | None:
    door = read_door(address.folder)
    if door is None or not door.is_open:
        return None
    from cliphouse.engine.served_connection import ServedConnection

    try:
        return ServedConnection(address, door)
    except ServiceError:  # it has ended, or is just about to
        return None
