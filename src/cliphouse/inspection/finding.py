"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AGAIN = "load the shard again with ingest --replace"


@dataclass(frozen=True)
class Finding:
    """One result of a check: an ``error`` is wrong, a ``note`` is worth knowing.

    ``where`` names the file or shard.
    """

    severity: Literal["error", "note"]
    where: str
    what: str
