"""A webdataset tar: files with one key, as in 000000012.jpg, .txt and .json, are one picture."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import pyarrow as pa

from cliphouse.pictures.datasets.json_columns import json_table, types_of
from cliphouse.pictures.datasets.member import CutOff, Member
from cliphouse.pictures.datasets.sample import MAX_BYTES, TOO_LARGE, is_of_sample, member_of
from cliphouse.shards.files import DataFile


@dataclass(frozen=True)
class TarInput:
    """A tar, and the parquet file of its metadata ``beside`` it."""

    file: DataFile
    number: int
    beside: DataFile | None = None

    def members(self) -> Iterator[Member[bytes] | CutOff]:
        files, before = _Files(), _Files()
        fault = ""
        with self.file.open() as stream:
            try:
                with tarfile.open(fileobj=stream, mode="r:", errors="replace") as tar:
                    while entry := tar.next():
                        tar.members.clear()  # type: ignore[attr-defined]  # it would keep those of all files
                        key, suffix = _split(entry.name)
                        if entry.isfile() and suffix:
                            if files.suffixes and key != files.key:
                                yield files.member()
                                before, files = files, _Files()
                            files.add(tar, entry, key, suffix)
                        files.end = tar.offset
                    fault = _fault_at_end(stream, files.end)
            except tarfile.TarError as error:
                fault = str(error)
        # Behind a cut the last key may have had more files.
        if files.suffixes and (not fault or files.suffixes == before.suffixes):
            yield files.member()
        if fault:
            yield CutOff(fault)

    def table(self, rows: Sequence[bytes | None]) -> pa.Table:
        return json_table(rows, types_of(self.beside))


@dataclass
class _Files:
    """The files of one key: the suffixes of all, and the bytes of those that are read, by suffix.
    The file behind them begins at the byte ``end``."""

    key: str = ""
    end: int = 0
    suffixes: set[str] = field(default_factory=set)
    by_suffix: dict[str, bytes] = field(default_factory=dict)
    fault: str = ""

    def add(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, key: str, suffix: str) -> None:
        self.key = key
        if entry.size > MAX_BYTES and is_of_sample(suffix):
            self.fault = TOO_LARGE
        elif suffix not in self.suffixes and is_of_sample(suffix):
            opened = tar.extractfile(entry)
            assert opened is not None
            self.by_suffix[suffix] = opened.read()
        self.suffixes.add(suffix)

    def member(self) -> Member[bytes]:
        return member_of(self.key, self.key, self.by_suffix, self.end, self.fault)


def _split(name: str) -> tuple[str, str]:
    """The key, which ends at the first dot of the file's own name, and the suffix with that dot."""
    folder, slash, own = name.rpartition("/")
    key, dot, suffix = own.partition(".")
    return f"{folder}{slash}{key}", f"{dot}{suffix.lower()}"


def _fault_at_end(stream: BinaryIO, end: int) -> str:
    """A tar ends with empty blocks. tarfile says nothing if they, or whole files, are missing."""
    stream.seek(end)
    block = stream.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        return "cut off"
    return f"damaged at byte {end:,}" if block.strip(b"\0") else ""
