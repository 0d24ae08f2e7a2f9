"""Opening the database at an address: a folder or a server."""

from __future__ import annotations

from cliphouse.engine.address import Address, FolderAddress
from cliphouse.engine.connection import Connection
from cliphouse.engine.retry import RETRY_SECONDS


def open_connection(
    address: Address, create: bool = False, retry_seconds: float = RETRY_SECONDS
) -> Connection:
    """Open the database at ``address``; ``create`` makes a folder that does not exist.

    Raises TableError if there is no database, another process has it open, or a server does not
    let this user in, and UnreachableError if no server answers.
    """
    if isinstance(address, FolderAddress):
        from cliphouse.engine.embedded_connection import EmbeddedConnection

        return EmbeddedConnection(address, create)
    from cliphouse.engine.server_connection import ServerConnection

    return ServerConnection(address, retry_seconds)
