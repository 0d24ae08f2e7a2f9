"""The sources of a table's rows: a shard's files, here or behind a URL, or one of the guide's CSV
files.

Loading reads local files only. Files behind a URL are copied and CSV files are converted first, one
shard ahead of the shard that is being loaded.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from cliphouse.errors import ShardError
from cliphouse.shards.files import DataFile, Shard, find_shards
from cliphouse.shards.guide_csv import GuideCsv
from cliphouse.shards.numbering import ID_BITS
from cliphouse.shards.reader import ShardReader


@dataclass(frozen=True)
class Source(ABC):
    """A shard whose headers are checked. ``files`` show whether it has changed; ``rows`` is an
    estimate if the source is a CSV file."""

    number: int
    files: tuple[DataFile, ...]
    rows: int
    dim: int
    has_text: bool

    @property
    @abstractmethod
    def is_local(self) -> bool:
        """Whether the rows can be read from their files, without copying or converting them."""

    @abstractmethod
    def open_local(self, folder: Path) -> LocalShard:
        """Make the rows readable from local files; new files are made in ``folder``.

        Raises ShardError if the files cannot be copied, converted or read.
        """

    @property
    def first_id(self) -> int:
        return self.number << ID_BITS

    @property
    def last_id(self) -> int:
        """The highest id that a row of the shard could have."""
        return ((self.number + 1) << ID_BITS) - 1

    def describe(self) -> str:
        text = "image and text" if self.has_text else "image"
        return f"{text} embeddings of dimension {self.dim}"


@dataclass(frozen=True)
class ShardSource(Source):
    """The files of a shard."""

    reader: ShardReader

    @classmethod
    def open(cls, shard: Shard) -> ShardSource:
        """Read the headers. Raises ShardError if the files do not fit together."""
        reader = ShardReader.open(shard)
        has_text = reader.text is not None
        return cls(shard.number, tuple(shard.files), reader.rows, reader.dim, has_text, reader)

    @property
    def is_local(self) -> bool:
        return all(file.is_local for file in self.files)

    def open_local(self, folder: Path) -> LocalShard:
        if self.is_local:
            return LocalShard(self, self.reader)
        return CopiedShard(self, ShardReader.open(_copy(self.reader.shard, folder)), folder)


@dataclass(frozen=True)
class CsvSource(Source):
    """A CSV file of the guide."""

    csv: GuideCsv

    @classmethod
    def of(cls, csv: GuideCsv) -> CsvSource:
        return cls(csv.number, (csv.file,), csv.rows, csv.dim, True, csv)

    @property
    def is_local(self) -> bool:
        return False

    def open_local(self, folder: Path) -> LocalShard:
        return CopiedShard(self, ShardReader.open(self.csv.convert(folder)), folder)


@dataclass(frozen=True)
class LocalShard:
    """A source and its rows in local files."""

    source: Source
    reader: ShardReader

    def check_values(self) -> None:
        """Raises ShardError, with row numbers, if a vector has no direction."""
        self.reader.check_values()

    def clear(self) -> None:
        """Remove the files that were made for loading; the source's own files stay."""


@dataclass(frozen=True)
class CopiedShard(LocalShard):
    """A source and a copy of its rows in ``folder``."""

    folder: Path

    def check_values(self) -> None:
        try:
            self.reader.check_values()
        except ShardError as error:
            # Name the files of the source: the copy will be removed.
            names = ", ".join(file.path for file in self.source.files)
            _, _, fault = str(error).rpartition(f"{self.folder}/")
            raise ShardError(f"{names}: {fault}") from error

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def find_sources(places: Sequence[str], numbers: Collection[int] | None = None) -> list[Source]:
    """Find the shards in ``places``, folders of shards and the guide's CSV files, by number.

    Every header is read and checked. Raises ShardError as find_shards and ShardReader.open do.
    """
    folders = [place for place in places if not place.endswith(".csv")]
    tables = [GuideCsv.open(place) for place in places if place.endswith(".csv")]
    chosen = [table for table in tables if numbers is None or table.number in numbers]
    sources: list[Source] = [CsvSource.of(table) for table in chosen]
    if folders:
        wanted = None if numbers is None else set(numbers) - {table.number for table in chosen}
        sources += [ShardSource.open(shard) for shard in find_shards(folders, wanted)]
    if not sources:
        raise ShardError(f"{', '.join(places)}: none of the shards asked for is there")
    sources.sort(key=lambda source: source.number)
    for one, next_one in pairwise(sources):
        if one.number == next_one.number:
            raise ShardError(
                f"shard {one.number} is there twice: {one.files[0].path} and "
                f"{next_one.files[0].path}; keep one of them"
            )
    return sources


def local_shards(sources: Sequence[Source], workspace: Path) -> Iterator[LocalShard]:
    """The sources in turn with their rows in local files; copies are made in ``workspace``."""
    for source in sources:
        yield source.open_local(workspace / str(source.number))


def _copy(shard: Shard, folder: Path) -> Shard:
    folder.mkdir(parents=True, exist_ok=True)

    def copy(file: DataFile) -> DataFile:
        path = folder / file.name
        try:
            file.fs.get_file(file.path, str(path))
        except OSError as error:
            raise ShardError(f"{file.path}: cannot be fetched: {error}") from error
        return DataFile(LocalFileSystem(), str(path), path.stat().st_size, file.version)

    text = copy(shard.text) if shard.text is not None else None
    return replace(shard, image=copy(shard.image), text=text, metadata=copy(shard.metadata))
