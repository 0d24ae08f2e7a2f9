"""An operand as JSON, between the client and the service."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

from cliphouse.errors import QueryError
from cliphouse.search.query.content import read_file, read_vector
from cliphouse.search.query.operand import KINDS, Operand


def operand_to_json(operand: Operand) -> dict[str, Any]:
    """The operand for a service; files of this machine are read.

    Raises QueryError or PictureError if one cannot be read.
    """
    given = {kind: getattr(operand, kind) for kind in KINDS}
    if operand.picture is not None:
        given["picture"] = base64.b64encode(read_file(operand)).decode()
    if operand.vector is not None:
        given["vector"] = _numbers(operand)
    told = {kind: value for kind, value in given.items() if value is not None}
    return {**told, "weight": operand.weight}


def _numbers(operand: Operand) -> list[float]:
    try:
        vector = np.ravel(read_vector(operand)).astype(float)
    except (TypeError, ValueError):
        raise QueryError(f"{operand.name}: no numbers, but a query is one vector of them") from None
    if not np.isfinite(vector).all():
        raise QueryError(f"{operand.name}: NaN or infinity; such a vector finds nothing")
    numbers: list[float] = vector.tolist()
    return numbers


def operand_from_json(given: Mapping[str, Any]) -> Operand:
    """The operand that a client sent. Raises QueryError if it is none, or more than one."""
    values = dict(given)
    if values.get("picture") is not None:
        values["picture"] = decode_picture(values["picture"])
    if values.get("vector") is not None:
        values["vector"] = tuple(values["vector"])
    return Operand(**values)


def decode_picture(text: str) -> bytes:
    """The bytes of a picture in base64, also as a data: URL or in lines. Raises QueryError if it is
    none."""
    head, separator, rest = text.partition(",")
    data = rest if separator and head.startswith("data:") else text
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise QueryError("the picture is not in base64") from None
