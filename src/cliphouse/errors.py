"""What can go wrong, named for what the user did or met.

Every message is one line that names the file, row, option or server and what to do next.
The command line prints it and exits with ``exit_code``: 2 for something the user can correct,
1 for a failure of the machine, the engine or the network.
"""

from __future__ import annotations


class CliphouseError(Exception):
    """Base of every error cliphouse raises on purpose."""

    exit_code = 1


class UserError(CliphouseError):
    """Something the user gave cannot be used as it is."""

    exit_code = 2


class ShardError(UserError):
    """A shard's files are missing, broken or do not fit together."""


class PictureError(UserError):
    """A picture cannot be read, or is too large to be read safely."""


class ModelError(UserError):
    """An encoder is unknown, not installed, or not the one the table was made with."""


class QueryError(UserError):
    """A query, an option of a search or a statement cannot be understood."""


class TableError(UserError):
    """A table or database is missing, empty, busy or not what the command needs."""


class MissingError(UserError):
    """A table or row that a program asked a service for is not there."""


class OverloadError(CliphouseError):
    """A service has as much to do as it takes on. ``retry_after`` is in seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceError(CliphouseError):
    """A search service cannot be reached, or failed."""


class EngineError(CliphouseError):
    """ClickHouse refused or failed a statement that was expected to work."""


class UnreachableError(EngineError):
    """A server cannot be reached, has no time, or its answer did not arrive. ``may_have_run`` says
    that the statement may have been run all the same, ``is_lasting`` that waiting changes nothing.
    """

    def __init__(self, message: str, may_have_run: bool = True, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.may_have_run = may_have_run
        self.is_lasting = is_lasting
