"""The folder of an embedded database: whether it is one, and can be opened."""

from __future__ import annotations

import os
from pathlib import Path

from cliphouse.engine.address import FolderAddress
from cliphouse.engine.copied import find_lost_links, find_lost_store
from cliphouse.errors import TableError

# The entries that the engine makes in its folder; a process killed early may leave any of them.
_ENGINE_FILES = frozenset(
    (
        *("access", "data", "dictionaries_lib", "disks", "flags", "format_schemas", "metadata"),
        *("metadata_dropped", "named_collections", "preprocessed_configs", "status", "store"),
        *("tmp", "user_defined", "user_files", "user_scripts", "uuid", "workload"),
    )
)


def is_database(folder: Path) -> bool:
    """Whether there is a database in a folder, be it a part of one: the engine makes these entries
    with the first table, and others when it is opened."""
    return any((folder / name).is_dir() for name in ("store", "metadata"))


def require_database(address: FolderAddress) -> None:
    """Raises TableError, as check_folder does, if nothing has been made in the folder yet: the
    engine would open it, and leave folders of its own there."""
    if not is_database(address.folder):  # of a database, opening it checks the rest
        check_folder(address, create=False)
        raise _no_database(address)


def check_folder(address: FolderAddress, create: bool) -> None:
    """Check that the folder is a database; ``create`` makes one if there is none.

    Raises TableError if the folder is missing, has other files, was copied in part or without its
    links, or cannot be made.
    """
    folder, shown = address.folder, address.shown
    if folder.exists() and not folder.is_dir():
        raise TableError(f"{shown}: a file; an embedded database is a folder")
    if not folder.exists() and not create:
        raise _no_database(address)
    present = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not {"store", "metadata"} <= present and (others := present - _ENGINE_FILES):
        raise TableError(
            f"{shown}: contains {min(others)} and is not a database; name another folder"
        )
    if (missing := find_lost_store(folder)) is not None:
        raise TableError(
            f"{shown}: lacks {missing.relative_to(folder)}/, the folder of its tables, as a copy "
            "does that was broken off; copy all of it again, or restore a backup"
        )
    if find_lost_links(folder):
        raise TableError(
            f"{shown}: a copy without the links of its original, as cp -rL, a zip or a cloud drive "
            f"make it. All data is there: cliphouse check --repair --db {shown} links it again"
        )
    if folder.exists() and not os.access(folder, os.W_OK):
        is_locked = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
        reason = "Read-only file system" if is_locked else "Permission denied"
        raise TableError(
            f"{shown}: cannot be written ({reason}), as the engine must be able to, even to read; "
            "copy it to a folder that you may write to"
        )
    parent = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TableError(f"{shown}: cannot be made in {parent}: {error.strerror}") from error


def _no_database(address: FolderAddress) -> TableError:
    return TableError(
        f"{address.shown}: no database here; name another with --db, or make one with: cliphouse "
        "sync PICTURES, or cliphouse ingest SHARDS"
    )
