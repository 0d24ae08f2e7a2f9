"""JSON text without NaN and infinity, which JSON does not have."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(document: Any, indent: int | None = None) -> str:
    """Write ``document`` as JSON text; NaN and infinity become null."""
    return json.dumps(_plain(document), ensure_ascii=False, indent=indent, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
