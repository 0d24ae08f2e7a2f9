"""A picture with its .txt and .json, as tars and folders have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cliphouse.pictures.datasets.json_columns import parse_metadata, valid_text
from cliphouse.pictures.datasets.member import Member
from cliphouse.pictures.formats import SUFFIXES

MAX_BYTES = 256 * 2**20  # a larger file is no picture, or its length is damaged
TOO_LARGE = f"larger than {MAX_BYTES // 2**20} MB"


def is_of_sample(suffix: str) -> bool:
    """Whether files with this suffix, in lower case with its dot, are read."""
    return suffix in (".txt", ".json") or suffix in SUFFIXES


def member_of(
    key: str, path: str, files: Mapping[str, bytes], read: int, fault: str = ""
) -> Member[bytes]:
    """The picture with ``files`` by suffix; ``path`` and ``read`` as a Member has them."""
    picture = next((data for suffix, data in files.items() if suffix in SUFFIXES), None)
    if picture is None and not fault:
        fault = "no picture"
    metadata = files.get(".json")
    values: dict[str, Any] = {}
    if metadata is not None and not fault:
        try:
            values = parse_metadata(metadata)
        except ValueError as error:
            fault = f"its .json cannot be read: {error}"
    if picture is None or fault:
        return Member(key, path, fault=fault, read=read)
    return Member(key, path, picture, _caption(files.get(".txt"), values), metadata, read=read)


def _caption(text: bytes | None, values: Mapping[str, Any]) -> str:
    if text is not None:
        return text.decode("utf-8", "replace")
    caption = values.get("caption")
    return valid_text(caption) if isinstance(caption, str) else ""
