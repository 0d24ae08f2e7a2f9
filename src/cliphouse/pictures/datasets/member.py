"""What every kind of input gives: its pictures in turn, and their metadata as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import pyarrow as pa

from cliphouse.shards.files import DataFile

Metadata = TypeVar("Metadata")


@dataclass(frozen=True)
class CutOff:
    """The end of an input that ends too early, in place of its last pictures."""

    reason: str


@dataclass(frozen=True)
class Member(Generic[Metadata]):
    """One picture of an input, or what there is of it.

    ``path`` is its column image_path. ``fault`` says why no row can be made of it; then it has no
    picture. ``is_absent`` says that img2dataset itself has not got the picture. ``read`` is how
    many bytes of the input lie behind.
    """

    key: str
    path: str
    picture: bytes = b""
    caption: str = ""
    metadata: Metadata | None = None
    fault: str = ""
    is_absent: bool = False
    read: int = 0


class Input(Protocol[Metadata]):
    """A tar, a folder or a parquet file, and the ``number`` of its shard."""

    @property
    def file(self) -> DataFile:
        """Where it is; size and version show whether it has changed."""

    @property
    def number(self) -> int: ...

    def members(self) -> Iterator[Member[Metadata] | CutOff]:
        """Its pictures in turn. Raises ShardError, or an error of its store, if it cannot be
        read."""

    def table(self, rows: Sequence[Metadata | None]) -> pa.Table:
        """The metadata of members as a table; None becomes a row of nulls."""
