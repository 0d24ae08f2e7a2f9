"""Datasets in the three layouts of img2dataset, as its writers lay them out."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

TYPES = pa.schema(
    [
        ("url", pa.string()),
        ("caption", pa.string()),
        ("similarity", pa.float64()),
        ("punsafe", pa.float32()),
        ("LICENSE", pa.string()),
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("exif", pa.string()),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True)
class Sample:
    """A pair of a dataset; without a picture if it could not be downloaded."""

    key: str
    picture: bytes | None
    caption: str
    metadata: dict[str, Any]

    def files(self) -> dict[str, bytes]:
        """What a tar or a folder has of it, by suffix."""
        if self.picture is None:
            return {}
        text = json.dumps(self.metadata, indent=4).encode()
        return {"jpg": self.picture, "json": text, "txt": self.caption.encode()}


def samples(shard: int, count: int) -> list[Sample]:
    """``count`` pairs, the last of every seven without a picture. No two are alike."""
    rng = np.random.default_rng([shard, count])
    return [_sample(rng, shard, row) for row in range(count)]


def _sample(rng: np.random.Generator, shard: int, row: int) -> Sample:
    width, height = (int(side) for side in rng.integers(20, 60, 2))
    tiles = rng.integers(0, 255, (3, 3, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(tiles).resize((width, height)).save(stream, "jpeg")
    is_there = row % 7 != 6
    key = f"{shard:05d}{row:04d}"
    caption = f"picture {row} of {shard}, \u00e9t\u00e9 \u4e2d\n"
    metadata = {
        "url": f"http://pictures.test/{key}.jpg",
        "caption": caption,
        "similarity": float(rng.uniform(0.2, 0.4)),
        "punsafe": float(np.float32(rng.uniform())) if row % 3 else None,
        "LICENSE": "?",
        "key": key,
        "status": "success" if is_there else "failed_to_download",
        "error_message": None if is_there else "HTTP Error 404: Not Found",
        "width": width if is_there else None,
        "height": height if is_there else None,
        "original_width": width * 4 if is_there else None,
        "original_height": height * 4 if is_there else None,
        "exif": json.dumps({"Image Make": "Test"}) if is_there else None,
        "sha256": sha256(stream.getvalue()).hexdigest() if is_there else None,
    }
    return Sample(key, stream.getvalue() if is_there else None, caption, metadata)


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """A tar as webdataset's TarWriter makes it: times with fractions make PAX headers."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(data), 1700000000.25, 0o444
            tar.addfile(entry, io.BytesIO(data))


def members(pairs: Sequence[Sample]) -> list[tuple[str, bytes]]:
    """The files of a tar, by name."""
    return [(f"{p.key}.{suffix}", data) for p in pairs for suffix, data in p.files().items()]


def _write_beside(folder: Path, shard: int, pairs: Sequence[Sample]) -> None:
    table = pa.Table.from_pylist([pair.metadata for pair in pairs], TYPES)
    pq.write_table(table, folder / f"{shard:05d}.parquet")
    got = sum(pair.picture is not None for pair in pairs)
    stats = {"count": len(pairs), "successes": got, "failed_to_download": len(pairs) - got}
    (folder / f"{shard:05d}_stats.json").write_text(json.dumps(stats))


def write_webdataset(folder: Path, shard: int, pairs: Sequence[Sample]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_tar(folder / f"{shard:05d}.tar", members(pairs))
    _write_beside(folder, shard, pairs)


def write_files(folder: Path, shard: int, pairs: Sequence[Sample]) -> None:
    inner = folder / f"{shard:05d}"
    inner.mkdir(parents=True, exist_ok=True)
    for name, data in members(pairs):
        (inner / name).write_bytes(data)
    _write_beside(folder, shard, pairs)


def write_parquet(folder: Path, shard: int, pairs: Sequence[Sample]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    schema = TYPES.append(pa.field("txt", pa.string())).append(pa.field("jpg", pa.binary()))
    rows = [p.metadata | {"jpg": p.picture, "txt": p.caption if p.picture else None} for p in pairs]
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{shard:05d}.parquet")


Writer = Callable[[Path, int, Sequence[Sample]], None]
WRITERS: Mapping[str, Writer] = {
    "webdataset": write_webdataset,
    "files": write_files,
    "parquet": write_parquet,
}


def without(pair: Sample, **changed: Any) -> Sample:
    return replace(pair, **changed)
