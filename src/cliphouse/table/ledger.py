"""What has been loaded: an append-only table beside the data, one line for each change of state.

A line is written before a shard's first row (``loading``) and after its last (``done``), so a
killed run leaves a shard ``loading`` and the next run finishes it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import xxhash

from cliphouse.shards import DataFile
from cliphouse.shards.source import LocalShard
from cliphouse.table.connection import Connection, identifier
from cliphouse.table.layout import Layout
from cliphouse.table.placement import find_placement

State = Literal["loading", "done"]
_CHUNK = 8 * 2**20
# On a cluster all lines of one shard are in one place.
LEDGER = Layout(
    columns=(
        "shard UInt32",
        "at DateTime64(6) DEFAULT now64(6)",
        "state LowCardinality(String)",
        "rows UInt64",
        "files String",
        "worker String",
    ),
    order_by="(shard, at)",
    sharding_key="shard",
    comment="What cliphouse has loaded, shard by shard",
)


@dataclass(frozen=True)
class LoadedFile:
    """A file as it was when its shard was loaded. ``checksum`` is XXH3-128 of its bytes."""

    name: str
    size: int
    version: str
    checksum: str


@dataclass(frozen=True)
class Entry:
    """The last known state of a shard."""

    shard: int
    state: State
    rows: int
    files: tuple[LoadedFile, ...]
    at: datetime | None = None

    def same_files(self, files: Sequence[DataFile]) -> bool:
        """Whether ``files`` are those of this entry, by size and version, or by content."""
        if [f.size for f in files] != [f.size for f in self.files]:
            return False
        versions = [f.version for f in files]
        if all(versions) and versions == [f.version for f in self.files]:
            return True
        return [checksum(f) for f in files] == [f.checksum for f in self.files]


class Ledger:
    """The ledger of one table, named after it."""

    def __init__(self, connection: Connection, table: str) -> None:
        self._connection = connection
        self._name = identifier(f"{table}_ledger")
        self._placement = find_placement(connection, f"{table}_ledger")

    def exists(self) -> bool:
        return bool(self._connection.command(f"EXISTS TABLE {self._name}"))

    def read(self) -> dict[int, Entry]:
        """The last entry of every shard, by shard number."""
        found = self._connection.query(
            "SELECT shard, argMax(tuple(state, rows, files), at) AS last, max(at) AS changed "
            f"FROM {self._name} GROUP BY shard ORDER BY shard{self._placement.consistent}"
        )
        entries = {}
        for row in found.to_pylist():
            state, rows, files = row["last"].values()
            listed = tuple(LoadedFile(**file) for file in json.loads(files))
            entries[row["shard"]] = Entry(row["shard"], state, rows, listed, row["changed"])
        return entries

    def clear(self) -> None:
        """Forget everything: for a table that was dropped and is made anew."""
        placement = self._placement
        placement.run(self._connection, f"TRUNCATE TABLE {placement.rows}{placement.on}")

    def write(self, entry: Entry) -> None:
        files = json.dumps([asdict(file) for file in entry.files])
        self._connection.command(
            f"INSERT INTO {self._name} (shard, state, rows, files, worker) "
            "SELECT {shard:UInt32}, {state:String}, {rows:UInt64}, {files:String}, {worker:String}",
            {
                "shard": entry.shard,
                "state": entry.state,
                "rows": entry.rows,
                "files": files,
                "worker": f"{socket.gethostname()}:{os.getpid()}",
            },
            self._placement.insert_settings,
        )


def describe_files(shard: LocalShard) -> tuple[LoadedFile, ...]:
    """The files a shard comes from, with checksums of their local copies where there are any."""
    copies = {file.name: file for file in shard.reader.shard.files}
    return tuple(
        LoadedFile(file.name, file.size, file.version, checksum(copies.get(file.name, file)))
        for file in shard.source.files
    )


def checksum(file: DataFile) -> str:
    """XXH3-128 of the file's bytes, in hexadecimal."""
    digest = xxhash.xxh3_128()
    with file.open() as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
