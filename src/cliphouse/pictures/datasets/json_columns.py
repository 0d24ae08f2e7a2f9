"""Columns of the metadata that img2dataset writes as one JSON text for each picture.

All rows of a shard have the same columns. The types are those of the parquet file that img2dataset
writes beside an input; without it they are img2dataset's own, or follow from the values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from cliphouse.errors import ShardError
from cliphouse.shards.files import DataFile
from cliphouse.shards.metadata import MetadataFile

# What img2dataset itself writes of each picture.
_KNOWN: dict[str, pa.DataType] = {
    **dict.fromkeys(("url", "caption", "key", "status", "error_message"), pa.string()),
    **dict.fromkeys(("width", "height", "original_width", "original_height"), pa.int32()),
    **dict.fromkeys(("exif", "sha256", "md5"), pa.string()),
}


def parse_metadata(text: bytes) -> dict[str, Any]:
    """The columns of one picture. Raises ValueError if the text is not a JSON object."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - of the text, as json's own error
    return values


def types_of(beside: DataFile | None) -> pa.Schema | None:
    """The columns of the parquet file beside an input; None if there is none, or none readable."""
    try:
        return None if beside is None else MetadataFile.open(beside).schema
    except ShardError:
        return None


def json_table(texts: Sequence[bytes | None], types: pa.Schema | None) -> pa.Table:
    """A row for each text, nulls for None. ``types`` are the columns of the parquet file beside."""
    rows = [parse_metadata(text) if text is not None else {} for text in texts]
    given = {field.name: field.type for field in types or ()} if any(rows) else {}
    names = dict.fromkeys([*given, *(name for row in rows for name in row)])
    columns = {
        valid_text(name): _column([row.get(name) for row in rows], given.get(name), name)
        for name in names
    }
    return pa.table(columns) if columns else pa.table({"key": pa.nulls(len(rows), pa.string())})


def _column(values: Sequence[Any], given: pa.DataType | None, name: str) -> pa.Array:
    """The values in the first type that holds them all; objects, and values of several types,
    become JSON texts."""
    kinds = [kind for kind in (given, _KNOWN.get(name)) if kind is not None]
    if not any(map(_has_object, values)):
        kinds.append(None)  # the type follows from the values
    for kind in kinds:
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            continue
    texts = (v if v is None or isinstance(v, str) else json.dumps(v) for v in values)
    return pa.array([None if text is None else valid_text(text) for text in texts], pa.string())


def _has_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_object, value)))


def valid_text(text: str) -> str:
    """``text`` without halves of surrogate pairs, which JSON may have and UTF-8 has not."""
    return text.encode("utf-8", "replace").decode()
