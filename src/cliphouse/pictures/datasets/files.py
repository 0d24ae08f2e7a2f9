"""A folder of img2dataset's: 000000012.jpg with its .txt and .json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import xxhash

from cliphouse.pictures.datasets.json_columns import json_table, types_of
from cliphouse.pictures.datasets.member import Member
from cliphouse.pictures.datasets.sample import MAX_BYTES, TOO_LARGE, is_of_sample, member_of
from cliphouse.pictures.formats import SUFFIXES
from cliphouse.shards.files import DataFile, list_folder

_AHEAD = 64  # pictures that are read at once, and wait to be embedded


@dataclass(frozen=True)
class _Sample:
    """The files of one key by suffix; ``read`` counts the bytes of the folder up to their end."""

    key: str
    files: Mapping[str, DataFile]
    read: int


@dataclass(frozen=True)
class FolderInput:
    """A folder, and the parquet file of its metadata ``beside`` it."""

    file: DataFile
    number: int
    samples: tuple[_Sample, ...]
    beside: DataFile | None = None

    @classmethod
    def open(cls, fs: Any, path: str, number: int, beside: DataFile | None) -> FolderInput:
        """List the folder. Raises ShardError if that is not possible."""
        entries = [entry for entry in list_folder(fs, path, path) if entry["type"] == "file"]
        files = [DataFile.of(fs, entry) for entry in entries]
        version = xxhash.xxh64()
        by_key: dict[str, dict[str, DataFile]] = {}
        for file in files:
            version.update(f"{file.name}\0{file.size}\0{file.version}\0".encode())
            name = PurePosixPath(file.name)
            if is_of_sample(name.suffix.lower()):
                by_key.setdefault(name.stem, {})[name.suffix.lower()] = file
        samples, read = [], 0
        for key, parts in by_key.items():
            read += sum(part.size for part in parts.values())
            samples.append(_Sample(key, parts, read))
        size = sum(file.size for file in files)
        return cls(DataFile(fs, path, size, version.hexdigest()), number, tuple(samples), beside)

    def members(self) -> Iterator[Member[bytes]]:
        with ThreadPoolExecutor() as pool:  # a store far away takes its time for each file
            for start in range(0, len(self.samples), _AHEAD):
                yield from pool.map(self._member, self.samples[start : start + _AHEAD])

    def table(self, rows: Sequence[bytes | None]) -> pa.Table:
        return json_table(rows, types_of(self.beside))

    def _member(self, sample: _Sample) -> Member[bytes]:
        path = next((f.path for suffix, f in sample.files.items() if suffix in SUFFIXES), "")
        if any(file.size > MAX_BYTES for file in sample.files.values()):
            return member_of(sample.key, path, {}, sample.read, TOO_LARGE)
        fs = self.file.fs
        data = {suffix: fs.cat_file(file.path) for suffix, file in sample.files.items()}
        address = path if self.file.is_local else str(fs.unstrip_protocol(path))
        return member_of(sample.key, address, data, sample.read)
