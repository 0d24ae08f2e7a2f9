"""The options of a search on the command line: one for each field of Request."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal

import typer

from cliphouse.search.option import Option, options_of
from cliphouse.search.request import Request


def takes_request(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with an option for each field of Request in place of its parameter ``request``.

    The filter for programs is left out: people write SQL.
    """
    offered = [option for option in options_of(Request) if _is_typed(option)]

    @wraps(command)
    def run(**given: Any) -> None:
        values = {option.name: given.pop(option.name) for option in offered}
        command(**given, request=Request.read(values))

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        is_request = parameter.name == "request"
        parameters += map(_parameter, offered) if is_request else [parameter]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _is_typed(option: Option) -> bool:
    return option.form is None or option.form.kind is str


def _parameter(option: Option) -> inspect.Parameter:
    kind: Any = option.kind if option.form is None else option.form.kind
    if option.choices is not None:
        kind = Literal[option.choices()]
    if option.default is None:
        kind = kind | None
    # Of a truth value typer makes two flags by itself.
    names = () if option.kind is bool else (option.flag,)
    return inspect.Parameter(
        option.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=option.default,
        annotation=Annotated[kind, typer.Option(*names, help=option.help)],
    )
