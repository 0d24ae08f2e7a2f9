"""An embedded database as one file, by the engine's own BACKUP and RESTORE.

The engine writes a folder, because this build of it has no zip; the folder becomes a .zip with
checksums of everything.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cliphouse.engine.address import Address, FolderAddress
from cliphouse.engine.connection import Connection
from cliphouse.engine.damage import DamagedPart, find_damage
from cliphouse.engine.folder import require_database
from cliphouse.engine.occupant import PATIENCE, Patience
from cliphouse.engine.opening import open_connection
from cliphouse.engine.quoting import backquote, quote
from cliphouse.errors import EngineError, TableError
from cliphouse.shards.disk import disk_errors

_DEFAULT = "default"
_LEAST_ROOM = 2**16  # bytes, of which the smallest backup takes more
_CONTENTS = ".backup"  # the file by which the engine knows what a backup has
_OWN = ("system", "information_schema", "INFORMATION_SCHEMA")


@dataclass(frozen=True)
class BackupReport:
    """A backup's file and its size, the rows of each table that is in it, and the time it took."""

    file: Path
    bytes: int
    tables: Mapping[str, int]
    seconds: float


def back_up(address: Address, file: Path, patience: Patience = PATIENCE) -> BackupReport:
    """Write all tables of an embedded database to one .zip, with their indexes, and read all of it
    back. The file appears whole or not at all.

    Raises TableError if the file exists, is no .zip or is in the database itself, or the database
    is on a server or has no tables, and EngineError if the database is damaged, or the backup fails
    or cannot be read back.
    """
    source = _embedded(address)
    _check_suffix(file)
    if file.exists():
        raise TableError(f"{file}: is there already; name another file")
    if not file.absolute().parent.is_dir():
        raise TableError(f"{file}: the folder {file.parent} does not exist")
    if file.resolve().is_relative_to(source.folder.resolve()):
        raise TableError(f"{file}: in the database itself; name a file outside of {source.shown}")
    require_database(source)
    started = time.monotonic()
    folder, part = (_beside(file, ending) for ending in (".parts", ".part"))
    with disk_errors(file), _removed(folder), _removed(part):
        # If the engine cannot write the first bytes of its folder, it takes them for another's.
        part.write_bytes(bytes(_LEAST_ROOM))
        part.unlink()
        with closing(open_connection(source, patience=patience)) as connection:
            tables = _rows(connection)
            if not tables:
                raise TableError(f"{source.shown}: has no tables to back up")
            # BACKUP copies the files as they are, and RESTORE refuses those that are damaged.
            for damage in _damage(connection):
                raise EngineError(
                    f"{source.shown}: {damage}, and a backup would lack its rows; {damage.advice}. "
                    f"cliphouse check --db {source.shown} names all of the damage"
                )
            names = ", ".join(f"DATABASE {backquote(name)}" for name in _databases(connection))
            connection.command(f"BACKUP {names} TO File({quote(str(folder))})")
        _pack(folder, part)
        _read_back(part, file)
        size = part.stat().st_size
        part.replace(file)
    return BackupReport(file, size, tables, time.monotonic() - started)


def restore(file: Path, address: Address) -> BackupReport:
    """Make an embedded database of a backup: a folder that appears whole or not at all, and whose
    every part the engine has checked.

    Raises TableError if there is no such file, the database exists or is on a server, and
    EngineError if the engine cannot restore it.
    """
    target = _embedded(address)
    _check_suffix(file)
    if not file.is_file():
        raise TableError(f"{file}: no such file")
    if target.folder.exists() and not target.folder.is_dir():
        raise TableError(f"{target.shown}: a file; an embedded database is a folder")
    if target.folder.exists() and any(target.folder.iterdir()):
        raise TableError(f"{target.shown}: is there already; restore into another folder")
    started = time.monotonic()
    _read_back(file, file)
    made, unpacked = (_beside(target.folder, ending) for ending in (".part", ".parts"))
    with disk_errors(target.folder), _removed(made), _removed(unpacked):
        with zipfile.ZipFile(file) as archive:
            if _CONTENTS not in archive.namelist():
                raise TableError(f"{file}: not a backup that cliphouse has written")
            archive.extractall(unpacked)
        part = FolderAddress(made, target.shown)
        with closing(open_connection(part, create=True)) as connection:
            connection.command(f"RESTORE ALL FROM File({quote(str(unpacked))})")
            for damage in _damage(connection):
                raise EngineError(f"{target.shown}: {damage}")
            tables = _rows(connection)
        if target.folder.exists():
            target.folder.rmdir()  # it is empty
        made.rename(target.folder)
    return BackupReport(file, file.stat().st_size, tables, time.monotonic() - started)


def _beside(path: Path, ending: str) -> Path:
    return path.absolute().with_name(f".{path.name}{ending}")


def _pack(folder: Path, file: Path) -> None:
    """Move the files of a folder into a .zip, which takes little more room than the larger of the
    two: what is there is compressed already, or does not compress."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
            if path.is_file():
                path.unlink()


@contextmanager
def _removed(path: Path) -> Iterator[None]:
    """Remove a file or folder of a run that was killed, and again at the end of the block."""
    _remove(path)
    try:
        yield
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _embedded(address: Address) -> FolderAddress:
    if isinstance(address, FolderAddress):
        return address
    raise TableError(
        f"{address.shown}: a server's backups are its own: BACKUP DATABASE ... TO Disk(...), see "
        "https://clickhouse.com/docs/operations/backup"
    )


def _check_suffix(file: Path) -> None:
    if file.suffix.lower() != ".zip":
        raise TableError(f"{file}: a backup is a .zip file")


def _databases(connection: Connection) -> list[str]:
    found = connection.query("SELECT name FROM system.databases ORDER BY name")
    return [name for name in found.column("name").to_pylist() if name not in _OWN]


@dataclass(frozen=True)
class _Name:
    database: str
    table: str

    def __str__(self) -> str:
        """The name in a report, with its database's in front if that is not the default one."""
        return self.table if self.database == _DEFAULT else f"{self.database}.{self.table}"


def _tables(connection: Connection) -> list[_Name]:
    """The tables that have rows of their own."""
    found = connection.query(
        "SELECT database, name FROM system.tables WHERE has({databases:Array(String)}, database) "
        "AND engine LIKE '%MergeTree' ORDER BY database, name",
        {"databases": _databases(connection)},
    )
    return [_Name(row["database"], row["name"]) for row in found.to_pylist()]


def _rows(connection: Connection) -> dict[str, int]:
    """The rows of every table."""
    return {
        str(name): int(
            connection.command(
                f"SELECT count() FROM {backquote(name.database)}.{backquote(name.table)}"
            )
        )
        for name in _tables(connection)
    }


def _damage(connection: Connection) -> Iterator[DamagedPart]:
    """Have the engine compare every part with its checksums."""
    for name in _tables(connection):
        yield from find_damage(connection, name.table, name.database)


def _read_back(file: Path, shown: Path) -> None:
    """Read a backup and compare all of it with its checksums. Raises EngineError if it is
    damaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise EngineError(f"{shown}: not a readable .zip: {error}") from error
    if damaged is not None:
        raise EngineError(f"{shown}: {damaged} in it is damaged")
