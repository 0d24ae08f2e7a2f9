"""The embedded engine of this process: its folder, its lock, and the functions it is given.

An engine holds one folder at a time, and all clients of the process share it. It is opened with a
configuration that makes encode_text and encode_image known; the processes behind them start at
their first call and end with the engine.
"""

from __future__ import annotations

import atexit
import fcntl
import re
import shutil
import threading
from collections import Counter
from pathlib import Path

import clickhouse_connect
import psutil
from clickhouse_connect.driver import exceptions
from clickhouse_connect.driver.client import Client

from cliphouse.engine.error_translation import one_line
from cliphouse.engine.lockfile import occupant
from cliphouse.engine.workspace import make_workspace
from cliphouse.errors import EngineError, TableError
from cliphouse.udf import SETTINGS_FILE, EncoderSettings, write_functions

# What the engine makes in its folder; a process killed early may leave any of it.
_ENGINE_FILES = frozenset(
    (
        *("access", "data", "dictionaries_lib", "disks", "flags", "format_schemas", "metadata"),
        *("metadata_dropped", "named_collections", "preprocessed_configs", "status", "store"),
        *("tmp", "user_defined", "user_files", "user_scripts", "uuid", "workload"),
    )
)

_lock = threading.Lock()
_open_here: Counter[Path] = Counter()
_functions: Path | None = None  # the folder with the engine's configuration, while one is open


def open_client(folder: Path, shown: str) -> Client:
    """A client of the engine on ``folder``, which is there. ``shown`` is how errors name it.

    Raises TableError where another process has it open, or this process another one, and
    EngineError where the engine cannot open it.
    """
    if _is_held_elsewhere(folder):
        raise _busy(folder, shown)
    config = _enter(folder)
    try:
        return clickhouse_connect.get_client(
            dsn=f"chdb://{folder}", chdb_options={"config-file": str(config)}
        )
    except exceptions.Error as error:
        leave(folder)
        if _is_held_elsewhere(folder):
            raise _busy(folder, shown) from error  # it came between the question and the opening
        message = str(error)
        if match := re.search(r"already initialized with path '([^']*)'", message):
            raise TableError(
                f"{shown}: this process has {match[1]} open, and an embedded engine holds one "
                "database at a time; close() that one first"
            ) from error
        raise EngineError(f"{shown}: cannot be opened: {one_line(message)}") from error


def _busy(folder: Path, shown: str) -> TableError:
    service = occupant(folder)
    if service is None:
        return TableError(
            f"{shown}: in use by another process; an embedded database has one user at a time. "
            "Wait for it to end, or stop it"
        )
    return TableError(
        f"{shown}: served at {service.address} by process {service.pid}; ask the service (search "
        f"and info take --server {service.address}), or stop it"
    )


def leave(folder: Path) -> None:
    """A client of ``folder`` has closed. With the last one goes what the functions were given."""
    global _functions
    with _lock:
        _open_here.subtract([folder])
        if _functions is not None and not any(count > 0 for count in _open_here.values()):
            shutil.rmtree(_functions, ignore_errors=True)
            _functions = None


def tell_encoder(settings: EncoderSettings) -> None:
    """What encode_text and encode_image go by from the next call on, in the engine open now."""
    if _functions is not None:
        settings.write(_functions / SETTINGS_FILE)


def check_folder(folder: Path, shown: str, create: bool) -> None:
    """Raises TableError where ``folder`` is no database and, with ``create``, cannot become one."""
    if folder.exists() and not folder.is_dir():
        raise TableError(f"{shown}: a file; an embedded database is a folder")
    if not folder.exists() and not create:
        raise TableError(f"{shown}: no database here; make one with: cliphouse ingest DIR")
    present = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not {"store", "metadata"} <= present and (others := present - _ENGINE_FILES):
        raise TableError(f"{shown}: holds {min(others)} and is no database; name another folder")
    parent = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TableError(f"{shown}: cannot be made in {parent}: {error.strerror}") from error


def _enter(folder: Path) -> Path:
    """One more client; returns the configuration to open the engine with."""
    global _functions
    with _lock:
        _open_here[folder] += 1
        if _functions is None:
            _functions = make_workspace()
            atexit.register(shutil.rmtree, _functions, ignore_errors=True)
            _write_cache_size(_functions)
        return write_functions(_functions)


def _write_cache_size(folder: Path) -> None:
    """A graph that is larger than the cache is read again by every search, and the engine's default
    of 5 GiB is outgrown by 2 million rows. Half of the memory is the most that it takes
    (cache_size_to_ram_max_ratio)."""
    beside = folder / "config.d"
    beside.mkdir(exist_ok=True)
    half = psutil.virtual_memory().total // 2
    (beside / "memory.xml").write_text(
        "<clickhouse>\n"
        f"    <vector_similarity_index_cache_size>{half}</vector_similarity_index_cache_size>\n"
        "</clickhouse>\n"
    )


def _is_held_elsewhere(folder: Path) -> bool:
    """Whether another process holds the engine's lock on its folder.

    Asked beforehand because the engine tells the reason on standard error only, and not where this
    process has the folder open itself, since its own lock would look the same.
    """
    status = folder / "status"
    if _open_here[folder] > 0 or not status.exists():
        return False
    with status.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
