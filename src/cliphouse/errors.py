"""What can go wrong, named for what the user did or met.

Every message is one line that names the file, row, option or server and what to do next.
The command line prints it and exits with ``exit_code``: 2 for something the user can correct,
1 for a failure of the machine, the engine or the network. Between processes an error travels as
its ``code`` and its message: the code is a promise to other programs, the class's name is not.
"""

from __future__ import annotations

from typing import ClassVar

_BY_CODE: dict[str, type[CliphouseError]] = {}


class CliphouseError(Exception):
    """Base of every error cliphouse raises on purpose. ``code`` names the kind of error in REST
    answers, in metrics and to other processes; a subclass without a code of its own has that of
    its base."""

    code: ClassVar[str] = "failure"
    exit_code: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" in cls.__dict__ and _BY_CODE.setdefault(cls.code, cls) is not cls:
            raise TypeError(f"{cls.__name__}: {_BY_CODE[cls.code].__name__} has this code too")


_BY_CODE[CliphouseError.code] = CliphouseError


def error_class(code: str) -> type[CliphouseError] | None:
    """The class of the errors with this code; None if there is none."""
    return _BY_CODE.get(code)


class UserError(CliphouseError):
    """Something the user gave cannot be used as it is."""

    code = "invalid"
    exit_code = 2


class ShardError(UserError):
    """A shard's files are missing, broken or do not fit together."""

    code = "shard"


class PictureError(UserError):
    """A picture cannot be read, or is too large to be read safely."""

    code = "picture"


class ModelError(UserError):
    """An encoder is unknown, not installed, or not the one the table was made with."""

    code = "model"


class QueryError(UserError):
    """A query, an option of a search or a statement cannot be understood."""

    code = "query"


class TableError(UserError):
    """A table or database is missing, empty, busy or not what the command needs."""

    code = "table"


class MissingError(UserError):
    """A table or row that a program asked a service for is not there."""

    code = "not_found"


class OverloadError(CliphouseError):
    """A service has as much to do as it takes on. ``retry_after`` is in seconds."""

    code = "overloaded"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceError(CliphouseError):
    """A search service cannot be reached, or failed."""

    code = "service"


class EngineError(CliphouseError):
    """ClickHouse refused or failed a statement that was expected to work."""

    code = "engine"


class UnreachableError(EngineError):
    """A server cannot be reached, has no time, or its answer did not arrive. ``may_have_run`` says
    that the statement may have been run all the same, ``is_lasting`` that waiting changes nothing.
    """

    code = "unreachable"

    def __init__(self, message: str, may_have_run: bool = True, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.may_have_run = may_have_run
        self.is_lasting = is_lasting
