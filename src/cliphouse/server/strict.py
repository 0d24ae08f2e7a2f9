"""The base class of request bodies."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A request body that refuses unknown fields and values of other types."""

    model_config = ConfigDict(extra="forbid", strict=True)
