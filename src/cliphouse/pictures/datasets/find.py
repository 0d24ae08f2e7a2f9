"""Finding the inputs of a dataset, by what a folder holds.

| in the folder, without a picture beside | an input |
|---|---|
| ``00000.tar`` ..., and no folders | a tar |
| ``00000/`` ... with ``00000.parquet`` or ``00000_stats.json`` beside | a folder |
| ``00000.parquet`` ... with a column ``jpg``, ``png`` or ``webp`` of bytes | a parquet file |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from cliphouse.errors import PictureError
from cliphouse.pictures.datasets.files import FolderInput
from cliphouse.pictures.datasets.member import Input
from cliphouse.pictures.datasets.tables import TableInput, picture_column
from cliphouse.pictures.datasets.tars import TarInput
from cliphouse.pictures.formats import SUFFIXES
from cliphouse.shards.files import DataFile, base_name, list_folder, open_fs
from cliphouse.shards.metadata import MetadataFile
from cliphouse.shards.numbering import MAX_SHARD

_Entries = Mapping[str, Mapping[str, Any]]


def find_inputs(place: str) -> list[Input[Any]] | None:
    """The inputs in ``place``, by number: a folder, or one tar or parquet file; a path or a URL
    that fsspec opens. None if it is a folder of this machine that holds no dataset.

    Raises ShardError if the place cannot be opened, PictureError if two inputs have one number, an
    input has none, or a URL leads to no dataset.
    """
    fs, path = open_fs(place)
    is_file = PurePosixPath(path).suffix in (".tar", ".parquet")
    folder, _, own = path.rstrip("/").rpartition("/") if is_file else (path, "", "")
    entries = {base_name(entry): entry for entry in list_folder(fs, folder, place)}
    names = [own] if is_file else list(entries)
    if is_file and own not in entries:
        raise PictureError(f"{place}: no such file")
    inputs = _inputs(fs, entries, [name for name in names if not name.startswith((".", "_"))])
    if inputs:
        return _by_number(inputs)
    if is_file or "://" in place:
        raise PictureError(
            f"{place}: no dataset; expected 00000.tar ..., 00000.parquet ... with a column jpg, or "
            "folders 00000 ... with 00000.parquet beside, as img2dataset writes them"
        )
    return None


def _inputs(fs: Any, entries: _Entries, names: Sequence[str]) -> Sequence[Input[Any]]:
    """The inputs among ``names`` of the first kind that there is."""
    if any(PurePosixPath(name).suffix.lower() in SUFFIXES for name in names):
        return []
    folders = [name for name in names if entries[name]["type"] == "directory"]
    files = {name: DataFile.of(fs, entries[name]) for name in names if name not in folders}
    tars = [file for name, file in files.items() if name.endswith(".tar")]
    if tars and not folders:
        return [TarInput(file, _number(file), _beside(fs, entries, file.name)) for file in tars]
    if datasets := [name for name in folders if _is_dataset_folder(entries, name)]:
        opened = [(DataFile.of(fs, entries[name]), name) for name in datasets]
        return [
            FolderInput.open(fs, file.path, _number(file), _beside(fs, entries, name))
            for file, name in opened
        ]
    tables = [file for name, file in files.items() if name.endswith(".parquet")]
    # The first stands for all: reading all footers of a store far away takes minutes.
    if tables and picture_column(MetadataFile.open(tables[0]).schema):
        return [TableInput(file, _number(file)) for file in tables]
    return []


def _is_dataset_folder(entries: _Entries, name: str) -> bool:
    beside = (f"{name}.parquet", f"{name}_stats.json")
    return re.fullmatch(r"\d+", name) is not None and any(other in entries for other in beside)


def _beside(fs: Any, entries: _Entries, name: str) -> DataFile | None:
    """The parquet file of an input's metadata."""
    entry = entries.get(f"{PurePosixPath(name).stem}.parquet")
    return None if entry is None else DataFile.of(fs, entry)


def _number(file: DataFile) -> int:
    """The number at the end of an input's name, as in 00012.tar, or before how many there are, as
    in train-00012-of-00100.parquet."""
    match = re.fullmatch(r".*?(\d+)(?:-of-\d+)?", PurePosixPath(file.name).stem)
    if match is None or int(match[1]) >= MAX_SHARD:
        raise PictureError(
            f"{file.path}: its name must end in a number below {MAX_SHARD:,}, which becomes the "
            "number of its shard; rename it"
        )
    return int(match[1])


def _by_number(inputs: Sequence[Input[Any]]) -> list[Input[Any]]:
    found: dict[int, Input[Any]] = {}
    for one in inputs:
        other = found.setdefault(one.number, one)
        if other is not one:
            raise PictureError(
                f"{other.file.path} and {one.file.path} have the same number; rename one of them"
            )
    return sorted(inputs, key=lambda one: one.number)
