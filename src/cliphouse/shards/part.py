"""A file that grows beside its place until it is whole, and can go on growing after a kill."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from types import TracebackType

from fsspec.implementations.local import LocalFileSystem

from cliphouse.errors import CliphouseError, ShardError, UserError
from cliphouse.shards.files import DataFile
from cliphouse.shards.metadata import MetadataFile
from cliphouse.shards.npy import NpyFile

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_USERS = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


class DownloadError(CliphouseError):
    """A file could not be fetched, or could not be written on a full or failing disk."""


class FileError(DownloadError):
    """One file cannot be had; the others go on."""


@dataclass(frozen=True)
class Version:
    """What a store says of a file: the same version at the same address has the same bytes.

    ``size`` is in bytes, None where it is not told. ``etag`` and ``modified`` may be empty.
    """

    url: str
    etag: str
    modified: str
    size: int | None


class Part:
    """NAME.part, and NAME.part.json that says which version its bytes are of.

    While it is open no other process writes it. Its bytes are in the file as soon as `write`
    returns, so a kill loses none of them.

    Raises UserError where the folder cannot be written, DownloadError where the disk is full or
    failing, FileError where another process has the part open.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")
        self.size = 0
        self.version: Version | None = None

    def __enter__(self) -> Part:
        make_folder(self.target.parent)
        with disk_errors(self.path):
            self._descriptor = self._lock()
            self.size = os.lseek(self._descriptor, 0, os.SEEK_END)
        self.version = self._read_note()
        if self.version is None or self.size > (self.version.size or self.size):
            self.discard()
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it has every byte of its version, as far as its length tells."""
        return self.version is not None and self.size > 0 and self.size == self.version.size

    def restart(self, version: Version) -> None:
        """Begin again with another version. Emptied first: never old bytes under a new note."""
        self.discard()
        with disk_errors(self._note):
            self._note.write_text(json.dumps(asdict(version)))
        self.version = version

    def discard(self) -> None:
        """Forget every byte."""
        with disk_errors(self.path):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.size, self.version = 0, None

    def write(self, data: bytes) -> None:
        with disk_errors(self.path):
            rest = memoryview(data)
            while rest:  # a disk that fills up takes a piece before it refuses
                written = os.write(self._descriptor, rest)
                self.size += written
                rest = rest[written:]

    def finish(self) -> None:
        """Give the checked file its name, after its bytes are safe from a power cut."""
        with disk_errors(self.target):
            os.fsync(self._descriptor)
            self._note.unlink(missing_ok=True)  # first: a kill in between leaves nothing behind
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
                self._note.unlink(missing_ok=True)
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
            # Who held the lock before may have renamed or removed what was opened here.
            if self.path.exists() and os.path.samestat(os.fstat(descriptor), self.path.stat()):
                return descriptor
            os.close(descriptor)

    def _read_note(self) -> Version | None:
        try:
            values = json.loads(self._note.read_text())
            size = None if values["size"] is None else int(values["size"])
            return Version(values["url"], values["etag"], values["modified"], size)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def check_file(path: Path) -> None:
    """Read the npy header or the parquet footer. Raises ShardError where it is not as it should."""
    with disk_errors(path):
        file = DataFile(LocalFileSystem(), str(path), path.stat().st_size, "")
    try:
        if path.name.removesuffix(".part").endswith(".npy"):
            NpyFile.open(file)
        else:
            MetadataFile.open(file)
    except (ValueError, TokenError) as error:  # of numpy and pyarrow, on headers of garbage
        raise ShardError(f"{path}: its header cannot be read: {error}") from error


def make_folder(path: Path) -> None:
    """Make a folder where there is none. Raises UserError where that is not possible."""
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the system's error into one line that names ``path`` and says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise DownloadError(
                f"{path}: the disk is full ({reason}); make room, "
                "and the same command goes on from here"
            ) from error
        if error.errno in _USERS:
            raise UserError(
                f"{path}: cannot be written ({reason}); choose a folder you may write to"
            ) from error
        raise DownloadError(f"{path}: cannot be written ({reason})") from error
