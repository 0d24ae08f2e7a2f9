"""Finding the files of shards.

A shard is ``img_emb_N.npy``, ``text_emb_N.npy`` (optional) and ``metadata_N.parquet``, with N
written plainly (LAION) or zero-padded (clip-retrieval), all in one folder or in the subfolders
``img_emb/ text_emb/ metadata/`` or ``images/ texts/ metadata/``. Folders are local paths or any
URL that fsspec opens.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from cliphouse.errors import ShardError
from cliphouse.shards.numbering import MAX_SHARD

READY = ".ready"  # behind the name of metadata whose shard is complete, but not in its place yet
SUBFOLDERS = ("img_emb", "images", "text_emb", "texts", "metadata")

# The keys under which fsspec's stores give a version: s3 and http, abfs, gs and hf, local, others.
_VERSION_KEYS = (
    *("ETag", "etag", "blob_id", "md5Hash", "mtime", "LastModified", "last_modified"),
    *("updated", "modified", "created"),
)
_FILE_NAME = re.compile(r"(img_emb|text_emb|metadata)_(\d+)\.(npy|parquet)")
_SUFFIX = {"img_emb": "npy", "text_emb": "npy", "metadata": "parquet"}


@dataclass(frozen=True)
class DataFile:
    """One file of a shard. ``size`` is in bytes; ``version`` is the ETag if the store has one,
    else the modification time."""

    fs: Any = field(repr=False, compare=False)  # fsspec has no type hints
    path: str
    size: int
    version: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def open(self) -> BinaryIO:
        return cast(BinaryIO, self.fs.open(self.path, "rb"))

    @classmethod
    def of(cls, fs: Any, entry: Mapping[str, Any]) -> DataFile:
        """The file of an entry in its store's listing."""
        return cls(fs, entry["name"], int(entry["size"] or 0), entry_version(entry))


@dataclass(frozen=True)
class Shard:
    """The files of one shard. ``text`` is None if it has no text embeddings."""

    number: int
    image: DataFile
    text: DataFile | None
    metadata: DataFile

    @property
    def files(self) -> list[DataFile]:
        return [f for f in (self.image, self.text, self.metadata) if f is not None]


def open_fs(url: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it (see choose_fs).

    Raises ShardError if fsspec cannot read the URL, or the library for it is not installed.
    """
    try:
        fs, path = choose_fs(url)
    except (ImportError, ValueError, OSError) as error:
        raise ShardError(f"{url}: cannot be opened: {' '.join(str(error).split())}") from error
    return fs, path


def choose_fs(url: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it. A local path that exists, or
    whose folder does, is that even if it looks like a URL, as ``a::b`` or ``data:img``.

    Raises what fsspec raises.
    """
    path = Path(url)
    if path.exists() or (len(path.parts) > 1 and path.parent.exists()):
        return LocalFileSystem(), str(path.absolute())
    fs, inner = fsspec.url_to_fs(url)
    return fs, inner


def entry_version(entry: Mapping[str, Any]) -> str:
    """The version of a file in its store's listing; empty if the listing has none."""
    return next((str(entry[key]) for key in _VERSION_KEYS if entry.get(key)), "")


def find_shards(folders: Iterable[str], numbers: Collection[int] | None = None) -> list[Shard]:
    """Find the shards in ``folders`` (paths or fsspec URLs), by number; with ``numbers``, only
    these shards.

    Raises ShardError if a folder is missing or holds no shard, one of ``numbers`` is missing, two
    files are the same part of the same shard, or a shard has no image embeddings or metadata.
    """
    found: dict[tuple[int, str], DataFile] = {}
    for folder in folders:
        before = len(found)
        for number, kind, data_file in _scan(folder):
            other = found.setdefault((number, kind), data_file)
            if other is not data_file:
                raise ShardError(
                    f"shard {number} has two {kind} files, {other.path} and {data_file.path}: "
                    "keep one of them"
                )
        if len(found) == before:
            raise ShardError(
                f"{folder}: no shards here; expected img_emb_N.npy and metadata_N.parquet "
                "(text_emb_N.npy beside them), in the folder itself or in "
                "img_emb/ text_emb/ metadata/ or images/ texts/ metadata/"
            )
    present = {number for number, _ in found}
    wanted = present if numbers is None else set(numbers)
    if missing := sorted(wanted - present):
        raise ShardError(f"{', '.join(folders)}: shard {missing[0]} is missing")
    return [_assemble(number, found) for number in sorted(wanted)]


def _assemble(number: int, found: dict[tuple[int, str], DataFile]) -> Shard:
    image, metadata = found.get((number, "img_emb")), found.get((number, "metadata"))
    text = found.get((number, "text_emb"))
    if image is None or metadata is None:
        missing = f"img_emb_{number}.npy" if image is None else f"metadata_{number}.parquet"
        (present, *_) = (file.path for file in (image, metadata, text) if file is not None)
        raise ShardError(f"shard {number} is incomplete: {missing} is missing beside {present}")
    return Shard(number, image, text, metadata)


def _scan(folder: str) -> Iterator[tuple[int, str, DataFile]]:
    fs, root = open_fs(folder)
    for entry in list_folder(fs, root, folder):
        name = base_name(entry)
        if entry["type"] == "directory" and name in SUBFOLDERS:
            for inner in list_folder(fs, entry["name"], folder):
                yield from _recognise(fs, inner)
        else:
            yield from _recognise(fs, entry)


def _recognise(fs: Any, entry: dict[str, Any]) -> Iterator[tuple[int, str, DataFile]]:
    name = base_name(entry)
    match = _FILE_NAME.fullmatch(name)
    if name.endswith(READY) and _FILE_NAME.fullmatch(name.removesuffix(READY)):
        raise ShardError(
            f"{entry['name']}: this shard is being written, or its writing was cut off; run the "
            "command that writes it again"
        )
    if match is None or match[3] != _SUFFIX[match[1]]:
        return
    if entry["type"] != "file":
        raise ShardError(
            f"{entry['name']}: named like a shard's file, but not a file (broken link?)"
        )
    number = int(match[2])
    if number >= MAX_SHARD:
        raise ShardError(f"{entry['name']}: shard numbers end at {MAX_SHARD - 1}")
    yield number, match[1], DataFile.of(fs, entry)


def list_folder(fs: Any, path: str, folder: str) -> list[dict[str, Any]]:
    """The entries of ``path``, by name, as fsspec lists them; those of links are their targets'.

    Raises ShardError that names ``folder`` if there is no such folder or it cannot be listed.
    """
    try:
        if not fs.isdir(path):
            raise ShardError(f"{folder}: no such folder")
        found = [_followed(fs, entry) for entry in fs.ls(path, detail=True)]
        return sorted(found, key=lambda entry: str(entry["name"]))
    except (OSError, ImportError, ValueError) as error:
        raise ShardError(f"{folder}: cannot be listed: {error}") from error


def _followed(fs: Any, entry: dict[str, Any]) -> dict[str, Any]:
    """The entry of a local link's target: fsspec gives the type of the link itself."""
    if not isinstance(fs, LocalFileSystem) or not entry.get("islink"):
        return entry
    try:
        target = Path(entry["name"]).stat()
    except OSError:
        return entry | {"type": "link"}
    kind = "directory" if stat.S_ISDIR(target.st_mode) else "file"
    return entry | {"type": kind, "size": target.st_size, "mtime": target.st_mtime}


def base_name(entry: Mapping[str, Any]) -> str:
    """The last part of the name of an entry in a listing."""
    return str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]
