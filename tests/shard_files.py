"""Shards made by hand with numpy and pyarrow, not by the project's own writer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def unit_vectors(rng: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass
class MadeShard:
    """What a shard on disk holds, for comparing with."""

    folder: Path
    number: int
    image: NDArray[Any]
    text: NDArray[Any] | None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.image)

    @property
    def ids(self) -> NDArray[np.int64]:
        return self.number * 2**32 + np.arange(self.rows, dtype=np.int64)


def make_shard(
    folder: Path,
    number: int = 0,
    rows: int = 20,
    dim: int = 8,
    *,
    dtype: str = "<f2",
    with_text: bool = True,
    metadata: dict[str, Any] | None = None,
    layout: tuple[str, str, str] = ("img_emb", "text_emb", "metadata"),
    digits: int = 0,
    row_group: int | None = None,
    seed: int | None = None,
) -> MadeShard:
    """Write a shard; ``layout`` names the subfolders ('' for none)."""
    rng = np.random.default_rng(number if seed is None else seed)
    image = unit_vectors(rng, rows, dim).astype(dtype)
    text = unit_vectors(rng, rows, dim).astype(dtype) if with_text else None
    if metadata is None:
        metadata = {
            "url": [f"http://example.org/{number}/{row}.jpg" for row in range(rows)],
            "caption": [f"picture {row} of shard {number}" for row in range(rows)],
            "NSFW": ["UNLIKELY"] * rows,
            "similarity": rng.random(rows).tolist(),
            "width": list(range(100, 100 + rows)),
            "height": list(range(200, 200 + rows)),
            "LICENSE": ["?"] * rows,
        }
    name = f"{number:0{digits}d}"
    for part in layout:
        (folder / part).mkdir(parents=True, exist_ok=True)
    np.save(folder / layout[0] / f"img_emb_{name}.npy", image)
    if text is not None:
        np.save(folder / layout[1] / f"text_emb_{name}.npy", text)
    pq.write_table(
        pa.table(metadata),
        folder / layout[2] / f"metadata_{name}.parquet",
        row_group_size=row_group,
    )
    return MadeShard(folder, number, image, text, metadata)
