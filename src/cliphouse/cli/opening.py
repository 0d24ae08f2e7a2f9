"""Opening the database of a command, and the option --wait that every such command has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

import cliphouse
from cliphouse.cli import options, show
from cliphouse.engine.occupant import WAIT_SECONDS, Patience
from cliphouse.vocabulary import DEFAULT_TABLE

if TYPE_CHECKING:
    from cliphouse.table import Table

_HELP = "How many seconds to wait for an embedded database that another process has open."
_Seconds = Annotated[
    float,
    typer.Option("--wait", min=0, metavar="SECONDS", callback=options.seconds, help=_HELP),
]
_seconds: ContextVar[float] = ContextVar("seconds", default=WAIT_SECONDS)


def waiting(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the option --wait behind --db, if it has that and no --wait of its own."""
    parameters = list(inspect.signature(command, eval_str=True).parameters.values())
    names = [parameter.name for parameter in parameters]
    if "db" not in names or "wait" in names:
        return command

    @wraps(command)
    def run(*, wait: float, **given: Any) -> None:
        before = _seconds.set(wait)
        try:
            command(**given)
        finally:
            _seconds.reset(before)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    option = inspect.Parameter("wait", kind, default=WAIT_SECONDS, annotation=_Seconds)
    parameters.insert(names.index("db") + 1, option)
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def patience(seconds: float | None = None, for_engine: bool = False) -> Patience:
    """To wait for ``seconds``, by default as long as --wait says, and to say for whom."""
    return Patience(_seconds.get() if seconds is None else seconds, _tell, for_engine)


def open_table(db: str, table: str = DEFAULT_TABLE, *chosen: Any, **named: Any) -> Table:
    """The table as cliphouse.open gives it; a database that is in use is waited for."""
    return cliphouse.open(db, table, *chosen, **{"wait": patience(), **named})


def _tell(holder: str) -> None:
    show.err.print(f"waiting for the database, held by {holder}", markup=False)
