"""A file that is being downloaded: it gets its name when it is complete, and a killed download
goes on where it ended."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from types import TracebackType

from fsspec.implementations.local import LocalFileSystem

from cliphouse.errors import CliphouseError, ShardError
from cliphouse.shards import disk
from cliphouse.shards.files import DataFile
from cliphouse.shards.metadata import MetadataFile
from cliphouse.shards.npy import NpyFile


class DownloadError(CliphouseError):
    """A file could not be fetched, or could not be written on a full or failing disk."""


class FileError(DownloadError):
    """One file cannot be fetched; the other files can."""


@dataclass(frozen=True)
class FileVersion:
    """A file as its store describes it: the same version at the same URL has the same bytes.

    ``size`` is in bytes, None if the store does not give it. ``etag`` and ``modified`` may be
    empty.
    """

    url: str
    etag: str
    modified: str
    size: int | None


class PartialFile:
    """NAME.part, and NAME.part.json with the version of the file that its bytes belong to.

    While it is open no other process writes it. Its bytes are in the file as soon as `write`
    returns, so a kill loses none of them.

    Raises UserError if the folder cannot be written, DownloadError if the disk is full or
    failing, FileError if another process has the partial file open.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._version_path = target.with_name(target.name + ".part.json")
        self.size = 0
        self.version: FileVersion | None = None

    def __enter__(self) -> PartialFile:
        make_folder(self.target.parent)
        with disk_errors(self.path):
            self._descriptor = self._lock()
            self.size = os.lseek(self._descriptor, 0, os.SEEK_END)
        self.version = self._read_version()
        if self.version is None or self.size > (self.version.size or self.size):
            self.discard()
        return self

    @property
    def is_complete(self) -> bool:
        """Whether it is as long as its version of the file."""
        return self.version is not None and self.size > 0 and self.size == self.version.size

    def restart(self, version: FileVersion) -> None:
        """Start again with another version of the file.

        The bytes are discarded first: after a kill, a version never has another version's bytes.
        """
        self.discard()
        with disk_errors(self._version_path):
            self._version_path.write_text(json.dumps(asdict(version)))
        self.version = version

    def discard(self) -> None:
        """Remove all bytes."""
        with disk_errors(self.path):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.size, self.version = 0, None

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        with disk_errors(self.path):
            rest = memoryview(data)
            while rest:  # a disk that fills up takes some of the bytes before it fails
                written = os.write(self._descriptor, rest)
                self.size += written
                rest = rest[written:]

    def finish(self) -> None:
        """Give the checked file its name, after its bytes are safe from a power cut."""
        with disk_errors(self.target):
            os.fsync(self._descriptor)
            # The version goes first: a kill between the two steps then leaves nothing behind.
            self._version_path.unlink(missing_ok=True)
            self.path.replace(self.target)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with disk_errors(self.path):
            if self.size == 0:
                self.path.unlink(missing_ok=True)
                self._version_path.unlink(missing_ok=True)
            os.close(self._descriptor)

    def _lock(self) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(descriptor)
                raise FileError("another download is fetching it into the same folder") from error
            except OSError:  # a file system without locks
                return descriptor
            # The process that held the lock before may have renamed or removed the opened file.
            if self.path.exists() and os.path.samestat(os.fstat(descriptor), self.path.stat()):
                return descriptor
            os.close(descriptor)

    def _read_version(self) -> FileVersion | None:
        try:
            values = json.loads(self._version_path.read_text())
            size = None if values["size"] is None else int(values["size"])
            return FileVersion(values["url"], values["etag"], values["modified"], size)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def check_file(path: Path) -> None:
    """Check the npy header or the parquet footer. Raises ShardError if it is wrong."""
    with disk_errors(path):
        file = DataFile(LocalFileSystem(), str(path), path.stat().st_size, "")
    try:
        if path.name.removesuffix(".part").endswith(".npy"):
            NpyFile.open(file)
        else:
            MetadataFile.open(file)
    except (ValueError, TokenError) as error:  # numpy and pyarrow raise these for random bytes
        raise ShardError(f"{path}: its header cannot be read: {error}") from error


def make_folder(path: Path) -> None:
    """Make a folder if it does not exist. Raises UserError if that is not possible."""
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def disk_errors(path: Path) -> AbstractContextManager[None]:
    """Turn an error of the system into one line that names ``path`` and says what to do."""
    return disk.disk_errors(path, DownloadError)
