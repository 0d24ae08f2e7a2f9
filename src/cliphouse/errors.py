"""Every error that cliphouse raises on purpose.

Every message is one line that names the file, row, option or server and what to do next.
The command line prints it and exits with ``exit_code``: 2 for something the user can correct,
1 for a failure of the machine, the engine or the network. Between processes an error travels as
its ``code`` and its message: the code is a promise to other programs, the class's name is not.
"""

from __future__ import annotations

from typing import ClassVar

_BY_CODE: dict[str, type[CliphouseError]] = {}


class CliphouseError(Exception):
    """Base of every error that cliphouse raises on purpose.

    ``code`` names the kind of error in REST answers, in metrics and between processes. A subclass
    without a code of its own has the code of its base.
    """

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
    """The user can correct something: a name, a value or a file cannot be used as it is."""

    code = "invalid"
    exit_code = 2


class ShardError(UserError):
    """A shard's files are missing, broken or do not fit together."""

    code = "shard"


class PictureError(UserError):
    """A picture cannot be read, or is too large to be read safely."""

    code = "picture"


class ModelError(UserError):
    """A model is unknown, not installed, or not the model of the table."""

    code = "model"


class QueryError(UserError):
    """A query, an option of a search or a statement is not valid."""

    code = "query"


class TableError(UserError):
    """A table or database is missing, empty, in use, or of the wrong kind for the command."""

    code = "table"


class MissingError(UserError):
    """A service does not have the table or row that was asked for."""

    code = "not_found"


class OverloadError(CliphouseError):
    """A service is at its limit. ``retry_after`` says in how many seconds to try again."""

    code = "overloaded"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceError(CliphouseError):
    """A search service failed or cannot be reached."""

    code = "service"


class EngineError(CliphouseError):
    """ClickHouse failed or refused a statement that should work."""

    code = "engine"


class UnreachableError(EngineError):
    """A server cannot be reached or is overloaded, or its answer did not arrive.

    If ``may_have_run``, the statement may have run anyway. If ``is_lasting``, waiting does not
    help.
    """

    code = "unreachable"

    def __init__(self, message: str, may_have_run: bool = True, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.may_have_run = may_have_run
        self.is_lasting = is_lasting
