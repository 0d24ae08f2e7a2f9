"""Where a shard's rows come from: local files, files behind a URL, or one of the guide's CSV files.

Whatever the source, loading works on local files: those behind a URL are copied and those in CSV
converted, one shard ahead of the one being loaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from cliphouse.errors import ShardError
from cliphouse.shards.files import DataFile, Shard, find_shards
from cliphouse.shards.guide_csv import GuideCsv
from cliphouse.shards.reader import ID_BITS, ShardReader


@dataclass(frozen=True)
class Source:
    """A shard before it is opened. ``files`` are what tells a change; ``rows`` of a CSV file are
    an estimate."""

    number: int
    files: tuple[DataFile, ...]
    rows: int
    dim: int
    has_text: bool
    reader: ShardReader | None = None
    csv: GuideCsv | None = None

    @classmethod
    def of_shard(cls, shard: Shard) -> Source:
        """Open a shard's headers. Raises ShardError as ShardReader.open does."""
        reader = ShardReader.open(shard)
        has_text = reader.text is not None
        return cls(shard.number, tuple(shard.files), reader.rows, reader.dim, has_text, reader)

    @classmethod
    def of_csv(cls, csv: GuideCsv) -> Source:
        return cls(csv.number, (csv.file,), csv.rows, csv.dim, has_text=True, csv=csv)

    @property
    def first_id(self) -> int:
        return self.number << ID_BITS

    @property
    def last_id(self) -> int:
        """The highest id the shard could have."""
        return ((self.number + 1) << ID_BITS) - 1

    @property
    def is_local(self) -> bool:
        """Whether its rows can be read where they are, without copying or converting."""
        return self.reader is not None and all(f.is_local for f in self.reader.shard.files)

    def describe(self) -> str:
        text = "image and text" if self.has_text else "image"
        return f"{text} embeddings of dimension {self.dim}"


@dataclass(frozen=True)
class LocalShard:
    """A source and its rows in local files. ``folder`` holds copies, to be removed after use."""

    source: Source
    reader: ShardReader
    folder: Path | None

    def clear(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def find_sources(places: Sequence[str], numbers: Collection[int] | None = None) -> list[Source]:
    """The shards in ``places``: folders of shards, and the guide's CSV files, by number.

    Every header is read and checked. Raises ShardError as find_shards and ShardReader.open do.
    """
    folders = [place for place in places if not place.endswith(".csv")]
    tables = [GuideCsv.open(place) for place in places if place.endswith(".csv")]
    chosen = [table for table in tables if numbers is None or table.number in numbers]
    sources = [Source.of_csv(table) for table in chosen]
    if folders:
        wanted = None if numbers is None else set(numbers) - {table.number for table in chosen}
        sources += [Source.of_shard(shard) for shard in find_shards(folders, wanted)]
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
    """The sources in turn, those that are not local files copied below ``workspace``."""
    for source in sources:
        folder = workspace / str(source.number)
        if source.csv is not None:
            yield LocalShard(source, ShardReader.open(source.csv.convert(folder)), folder)
            continue
        assert source.reader is not None
        shard = source.reader.shard
        if source.is_local:
            yield LocalShard(source, source.reader, None)
        else:
            yield LocalShard(source, ShardReader.open(_copy(shard, folder)), folder)


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
