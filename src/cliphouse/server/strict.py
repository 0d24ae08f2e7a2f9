"""What the bodies of requests have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A body that has no other fields, and no values of other types."""

    model_config = ConfigDict(extra="forbid", strict=True)
