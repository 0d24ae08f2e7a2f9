"""The REST model of the search options, made from the fields of Request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model

from cliphouse.search.filter import Filter
from cliphouse.search.option import Option, options_of
from cliphouse.search.request import Request
from cliphouse.server.column_models import FilterBody
from cliphouse.server.settings import MAX_DEPTH
from cliphouse.server.strict import Strict

_MODELS: dict[type, Any] = {Filter: FilterBody}
# Tighter limits than those of Request, because clients share the service.
_TIGHTER: dict[str, dict[str, Any]] = {
    "k": {"most": MAX_DEPTH},
    "offset": {"most": MAX_DEPTH},
    "ef": {"most": 10_000},
    "dedup": {"least": 0.5, "above": None},
}
_NAMES = {
    "anyOf": [
        {"type": "string", "description": "names separated by commas"},
        {"type": "array", "items": {"type": "string"}},
    ]
}
_OFFERED = {option.name: option for option in options_of(Request) if not option.is_sql}


class RequestModel(Strict):
    """A request body with search options."""

    def to_request(self) -> Request:
        """Make the Request. Raises QueryError if a value is out of range."""
        given = self.model_dump(include=set(_OFFERED), exclude_none=True, by_alias=True)
        return Request.read(given)


def _field(option: Option) -> tuple[Any, Any]:
    kind: Any = option.kind if option.form is None else option.form.kind
    if option.choices is not None:
        kind = Literal[option.choices()]
    elif option.kind in _MODELS:
        kind = _MODELS[option.kind]
    elif bounds := _bounds(replace(option, **_TIGHTER.get(option.name, {}))):
        kind = Annotated[kind, Field(**bounds)]
    if option.kind is tuple:
        kind = Annotated[kind, BeforeValidator(_joined), WithJsonSchema(_NAMES)]
    if option.default is None:
        kind = kind | None
    return kind, Field(option.default, description=option.help)


def _joined(value: Any) -> Any:
    """Names in a list, as in other routes, as one text; anything else as it is."""
    is_list = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return ",".join(value) if is_list else value


def _bounds(option: Option) -> dict[str, Any]:
    bounds = {"ge": option.least, "gt": option.above, "le": option.most}
    bounds["max_length"] = option.longest
    return {name: bound for name, bound in bounds.items() if bound is not None}


if TYPE_CHECKING:  # a name in an annotation must be a class, and a made model is a value
    RequestBody = RequestModel
else:
    RequestBody = create_model(
        "RequestBody",
        __base__=RequestModel,
        **{name: _field(option) for name, option in _OFFERED.items()},
    )
