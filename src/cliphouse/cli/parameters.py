"""Reads --param: values for {name:Type} in a statement."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cliphouse.errors import QueryError
from cliphouse.search.query.content import load_npy
from cliphouse.search.query.typed import named_file
from cliphouse.table import Table


def read_parameters(given: Sequence[str], table: Table) -> dict[str, Any]:
    """``name=VALUE`` as a dict. VALUE is ``@FILE.npy`` (one vector), ``image:PATH`` or
    ``text:WORDS`` (encoded here), or text for the engine to read as the parameter's type.

    Raises QueryError, PictureError or ModelError, each naming the parameter or file.
    """
    parameters: dict[str, Any] = {}
    for one in given:
        name, separator, value = one.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise QueryError(
                f"--param {one[:60]}: give NAME=VALUE, NAME=@FILE.npy, NAME=image:PATH or "
                "NAME=text:WORDS"
            )
        if name in parameters:
            raise QueryError(f"--param {name} is given twice")
        parameters[name] = _value(name, value, table)
    return parameters


def _value(name: str, value: str, table: Table) -> Any:
    if value.startswith("@"):
        return _load(name, value[1:])
    if value.startswith("image:"):
        return table.encode(_file(name, value.removeprefix("image:"))).tolist()
    if value.startswith("text:"):
        return table.encode(value.removeprefix("text:")).tolist()
    return value


def _file(name: str, text: str) -> Path:
    try:
        return named_file(text)
    except QueryError as error:
        raise QueryError(f"--param {name}: {error}") from error


def _load(name: str, text: str) -> list[float]:
    path = _file(name, text)
    try:
        vector = load_npy(path)
    except QueryError as error:
        raise QueryError(f"--param {name}: {error}") from error
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.ndim != 1 or not np.issubdtype(vector.dtype, np.number):
        raise QueryError(f"--param {name}: {path}: shape {vector.shape}, but it must be one vector")
    numbers: list[float] = vector.astype(np.float32).tolist()
    return numbers
