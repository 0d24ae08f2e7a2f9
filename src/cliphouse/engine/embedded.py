"""The embedded engine of this process: its folder, its lock and its SQL functions.

A process has one folder open at a time, and all its clients share the engine. The engine's
configuration defines encode_text and encode_image; their processes start at the first call and end
with the engine.

A fork has none of the engine's threads, and would wait for them for ever: a process that was forked
after the engine had started may not use or open it.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from clickhouse_connect.driver import exceptions
from clickhouse_connect.driver.client import Client

from cliphouse.engine.address import FolderAddress
from cliphouse.engine.error_translation import clean_message
from cliphouse.engine.lockfile import read_lock_file
from cliphouse.engine.occupant import (
    OccupiedError,
    describe_occupant,
    is_open_elsewhere,
    turn,
)
from cliphouse.engine.roles import write_roles
from cliphouse.engine.workspace import make_workspace, remove_workspace
from cliphouse.errors import EngineError, TableError
from cliphouse.shards.disk import DiskError
from cliphouse.udf import CONFIG_FILE, SETTINGS_FILE, EncoderSettings, write_functions
from cliphouse.wording import size

# Room for the definitions of tables, of which the engine keeps an empty one on a full disk.
_LEAST_ROOM = 2**20

_lock = threading.Lock()
_opening = threading.Lock()  # the engine must not open two at the same time
_open_here: Counter[Path] = Counter()
_changes: Counter[Path] = Counter()  # statements that may have changed a database
_functions: Path | None = None  # the folder with the engine's configuration, while one is open
_has_readers = False  # whether the engine is opened with the role of readers
_process: int | None = None  # the process in which the engine has started


def open_client(address: FolderAddress) -> Client:
    """A client of the engine on an existing folder.

    Raises OccupiedError if another process has the folder open, TableError if this process has
    another folder open or was forked from one with an engine, and EngineError if the engine cannot
    open it.
    """
    check_process(address.shown)
    with _opening:
        if _open_here[address.folder] > 0:  # its own lock would look like another's
            return _open(address)
        with turn(address.folder) as is_mine:
            if not is_mine or is_open_elsewhere(address.folder):
                raise _busy(address)
            return _open(address)


def prepare_readers() -> None:
    """Have the engine know the role of readers when it is opened the next time."""
    global _has_readers
    _has_readers = True


def open_bare(folder: Path) -> Any:
    """Another connection to the engine on the folder that this process has open, without the
    driver: one of the engine's own package, whose results are bytes in any format."""
    import chdb

    with _opening:
        return chdb.connect(str(folder))


def _open(address: FolderAddress) -> Client:
    folder, shown = address.folder, address.shown
    config = _enter(folder)
    try:
        return _connect(folder, config)
    except exceptions.Error as error:
        leave(folder)
        if _open_here[folder] <= 0 and is_open_elsewhere(folder):
            raise _busy(address) from error  # a program of another kind has just opened it
        message = str(error)
        if match := re.search(r"already initialized with path '([^']*)'", message):
            raise TableError(
                f"{shown}: this process has {match[1]} open, and an embedded engine holds one "
                "database at a time; close() that one first"
            ) from error
        raise EngineError(f"{shown}: cannot be opened: {clean_message(message)}") from error


def end_statements(folder: str, seconds: float) -> None:
    """Have the engine end what began more than ``seconds`` ago in its folder."""
    client = open_client(FolderAddress(Path(folder), folder))
    try:
        client.command(f"KILL QUERY WHERE elapsed >= {seconds:.3f} ASYNC")
    finally:
        client.close()
        leave(Path(folder))


def _connect(folder: Path, config: Path) -> Client:
    from cliphouse.engine.embedded_client import EmbeddedClient  # loads the engine's library

    return EmbeddedClient(path=str(folder), chdb_options={"config-file": str(config)})


def _busy(address: FolderAddress) -> OccupiedError:
    service = read_lock_file(address.folder)
    if service is None:
        return OccupiedError(
            f"{address.shown}: in use by {describe_occupant(address.folder)}, and one process at a "
            "time can open an embedded database. Wait longer for its end (--wait SECONDS), or stop "
            "it"
        )
    return OccupiedError(
        f"{address.shown}: served at {service.address} by process {service.pid}; ask the service "
        f"(search and info take --server {service.address}), or stop it"
    )


def is_forked() -> bool:
    """Whether this process was forked from one in which the engine had started."""
    return _process is not None and _process != os.getpid()


def check_process(shown: str) -> None:
    """Raises TableError if this process was forked from one in which the engine had started."""
    if is_forked():
        raise TableError(
            f"{shown}: this process was forked from one that has used the embedded engine, which "
            "does not work in a fork. Start processes by multiprocessing.get_context('spawn'), or "
            "before the first use of a database; see docs/reliability.md"
        )


def _leave_engine() -> None:
    """In a fork: let the parent's engine be. To close or remove a connection waits for ever, and so
    does the engine's own clean-up when the process ends."""
    import ctypes
    import gc

    import chdb.state.sqlitelike as driver

    setattr(driver.Connection, "close", _ignore)  # noqa: B010 - type checkers allow no assignment
    for connection in gc.get_objects():
        if isinstance(connection, driver.Connection):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # on Linux: it is called first, with the exit code
        libc.on_exit(ctypes.cast(libc._exit, ctypes.c_void_p), None)


def _ignore(_: object) -> None:
    pass


def leave(folder: Path) -> None:
    """Count a client of ``folder`` as closed. The last one removes the functions' settings."""
    global _functions
    with _lock:
        _open_here.subtract([folder])
        if _functions is not None and not any(count > 0 for count in _open_here.values()):
            remove_workspace(_functions)
            _functions = None


def require_room(address: FolderAddress) -> None:
    """Raises DiskError if the folder's disk has no room for what the engine notes of a change, and
    what free_room raises."""
    free = free_room(address)
    if free < _LEAST_ROOM:
        raise DiskError(
            f"{address.shown}: the disk is full: {size(free)} free, and a change needs "
            f"{size(_LEAST_ROOM)}; make room, and run the same command again"
        )


def free_room(address: FolderAddress) -> int:
    """The free bytes of the folder's disk. Raises DiskError if the folder is not there any more."""
    try:
        return shutil.disk_usage(address.folder).free
    except OSError as error:
        raise DiskError(
            f"{address.shown}: {error.strerror}, though the database was opened there; put its "
            "folder back, and run the same command again"
        ) from error


def note_change(folder: Path) -> None:
    """Note that a statement may have changed the database."""
    with _lock:
        _changes[folder] += 1


def changes(folder: Path) -> int:
    """How often this process may have changed the database, through whichever client."""
    return _changes[folder]


def set_encoder(settings: EncoderSettings) -> None:
    """Let encode_text and encode_image use ``settings`` from their next call on."""
    if _functions is not None and not is_forked():
        settings.write(_functions / SETTINGS_FILE)


def _enter(folder: Path) -> Path:
    """Count one more client; returns the configuration file to open the engine with."""
    global _functions, _process
    with _lock:
        if _process is None:
            _process = os.getpid()
            os.register_at_fork(after_in_child=_leave_engine)
        _open_here[folder] += 1
        if _functions is None:
            _functions = make_workspace()
            atexit.register(_remove, _functions)
            _write_cache_size(_functions)
            _allow_backups(_functions)
            if _has_readers:
                write_roles(_functions)
            write_functions(_functions)
        return _functions / CONFIG_FILE


def _remove(functions: Path) -> None:
    if not is_forked():
        remove_workspace(functions)


def _write_cache_size(folder: Path) -> None:
    """Let the cache of vector indexes take half of the memory.

    Every search reads a graph again that is larger than the cache, and at 2 million rows a graph
    is larger than the default of 5 GiB. The engine takes no more than half of the memory
    (cache_size_to_ram_max_ratio).
    """
    config_folder = folder / "config.d"
    config_folder.mkdir(exist_ok=True)
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    (config_folder / "memory.xml").write_text(
        "<clickhouse>\n"
        f"    <vector_similarity_index_cache_size>{half}</vector_similarity_index_cache_size>\n"
        "</clickhouse>\n"
    )


def _allow_backups(folder: Path) -> None:
    """Let BACKUP and RESTORE use the folders that this user can write to and read."""
    (folder / "config.d" / "backups.xml").write_text(
        "<clickhouse>\n    <backups><allowed_path>/</allowed_path></backups>\n</clickhouse>\n"
    )
