"""The rows of one shard while they are gathered, and their metadata as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from cliphouse.pictures.datasets.member import Input, Member, Metadata


@dataclass(frozen=True)
class Loaded(Generic[Metadata]):
    """A picture at the model's scale, with the width and height that it had."""

    member: Member[Metadata]
    image: Image.Image
    width: int
    height: int


@dataclass
class Rows(Generic[Metadata]):
    """What is kept of each picture of an input until all of them are embedded.

    Only then it is known which columns the metadata has, and of which types.
    """

    keys: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    metadata: list[Metadata | None] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    similarities: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, loaded: Sequence[Loaded[Metadata]], similarity: NDArray[np.float32]) -> None:
        """Add pictures and the cosine similarity of each to its caption."""
        for one in loaded:
            self.keys.append(one.member.key)
            self.paths.append(one.member.path)
            self.captions.append(one.member.caption)
            self.metadata.append(one.member.metadata)
            self.widths.append(one.width)
            self.heights.append(one.height)
        self.similarities.append(similarity)

    def table(self, source: Input[Metadata]) -> pa.Table:
        """image_path and caption, the metadata's own columns, and of key, width, height and
        similarity those that it has not."""
        own = source.table(self.metadata)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            "image_path": pa.array(self.paths, pa.string()),
            "caption": pa.array(self.captions, pa.string()),
        }
        for name in own.column_names:
            columns.setdefault(name, own.column(name))
        keys = pa.array(self.keys, pa.string())
        if "key" in columns and pa.types.is_string(columns["key"].type):
            columns["key"] = pc.coalesce(columns["key"], keys)
        made = {
            "key": keys,
            "width": pa.array(self.widths, pa.int32()),
            "height": pa.array(self.heights, pa.int32()),
            "similarity": pa.array(np.concatenate(self.similarities)),
        }
        given = {name.lower() for name in columns}
        return pa.table(columns | {name: made[name] for name in made if name not in given})
