"""The ledger: what has been loaded, and which worker is loading what.

It is an append-only table beside the data, with a line for each change of state of a shard. A
worker claims a shard by a line ``claimed``, which bears the number of the claim, the *generation*.
It writes ``loading`` before the shard's first row, ``renewed`` as a heartbeat, and at last
``done``, or ``released`` if it gives the shard up. A killed worker leaves its last line, and the
next worker claims the next generation. Lines of generation 0 are of releases that made no claims.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import xxhash

from cliphouse.cluster.ddl import Layout, create_table
from cliphouse.cluster.placement import Placement
from cliphouse.engine.connection import Connection
from cliphouse.engine.quoting import identifier, quote
from cliphouse.loading.tokens import token_settings
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import LEDGER_SUFFIX, keep_tokens, read_definition
from cliphouse.schema.migrations import LEDGER_RECORD

if TYPE_CHECKING:
    from cliphouse.shards.files import DataFile
    from cliphouse.shards.source import LocalShard

LineState = Literal["claimed", "loading", "renewed", "released", "done"]
State = Literal["loading", "done"]
_CHUNK = 8 * 2**20
_NEW_COLUMNS = ("generation", "attempt")  # ledgers of version 1 may lack them
# A claim comes after the lines of earlier generations; within a generation these lines come last.
_LAST = "generation > 0 AND state IN ('done', 'released', 'forgotten')"
# On a cluster one node has all lines of a shard, and compares their tokens.
LEDGER = Layout(
    columns=(
        "shard UInt32",
        "at DateTime64(6) DEFAULT now64(6)",
        "state LowCardinality(String)",
        "rows UInt64",
        "files String",
        "worker String",
        *(f"{column} UInt32" for column in _NEW_COLUMNS),
    ),
    order_by="(shard, at)",
    sharding_key="shard",
    comment=LEDGER_RECORD.write({"about": "What cliphouse has loaded, shard by shard"}),
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
    """What the ledger says that the table holds of a shard. ``attempt`` is the number of the last
    round that sent rows (see cliphouse.loading.fill)."""

    shard: int
    state: State
    rows: int
    files: tuple[LoadedFile, ...]
    at: datetime | None = None
    attempt: int = 0

    def same_files(self, files: Sequence[DataFile]) -> bool:
        """Whether ``files`` are those of this entry, by size and version, or by content."""
        if [f.size for f in files] != [f.size for f in self.files]:
            return False
        versions = [f.version for f in files]
        if all(versions) and versions == [f.version for f in self.files]:
            return True
        return [checksum(f) for f in files] == [f.checksum for f in self.files]


@dataclass(frozen=True)
class Line:
    """A line to be written. Lines ``loading`` and ``done`` have ``rows``, ``files`` and
    ``attempt``."""

    shard: int
    state: LineState
    generation: int
    worker: str
    rows: int = 0
    files: tuple[LoadedFile, ...] = ()
    attempt: int = 0

    @property
    def token(self) -> str:
        """The insert token. All claims of one generation have the same token, so the engine keeps
        the first. Every other line has its own, and is kept once, however often it is sent."""
        own = "" if self.state == "claimed" else f":{uuid.uuid4().hex}"
        return f"{self.shard}:{self.generation}:{self.state}{own}"


@dataclass(frozen=True)
class Claim:
    """The last claim to a shard: its worker, when it was made, and its last state.
    ``seconds_since_heartbeat`` is the age of the claim's last line, by the server's clock."""

    shard: int
    generation: int
    state: str
    worker: str
    claimed_at: datetime
    seconds_since_heartbeat: float

    @property
    def is_open(self) -> bool:
        """Whether its worker has neither loaded the shard nor given it up."""
        return self.generation > 0 and self.state in ("claimed", "loading")


@dataclass(frozen=True)
class _Format:
    """A ledger's version, and the columns of this release's version that it lacks."""

    version: int
    absent_columns: tuple[str, ...] = ()


class Ledger:
    """The ledger of one table, named after it."""

    def __init__(self, connection: Connection, placement: Placement) -> None:
        """``placement`` is the table's; its ledger is in the same places."""
        self._connection = connection
        self._placement = placement.beside(LEDGER_SUFFIX)
        self._table = self._placement.table
        self._name = identifier(self._table)

    @classmethod
    def of(cls, table: TableHandle) -> Ledger | None:
        """The ledger of a table, None if it had none when it was resolved."""
        if table.ledger_version is None:
            return None
        ledger = cls(table.connection, table.placement)
        if table.ledger_version == LEDGER_RECORD.version:
            ledger._format = _Format(table.ledger_version)
        return ledger

    def on(self, connection: Connection) -> Ledger:
        """The same ledger through another connection, for another thread."""
        other = copy.copy(self)
        other._connection = connection
        return other

    @classmethod
    def make(cls, connection: Connection, placement: Placement) -> Ledger:
        """Make the ledger of the table at ``placement`` if there is none, and migrate one of an
        earlier version. Raises TableError if a newer release wrote it."""
        create_table(connection, placement.beside(LEDGER_SUFFIX), LEDGER)
        ledger = cls(connection, placement)
        ledger._migrate()
        keep_tokens(connection, ledger._table)
        return ledger

    def _migrate(self) -> None:
        """Bring a ledger of an earlier version to this one: its columns, then its comment."""
        if self._format.version == LEDGER_RECORD.version:
            return
        placement = self._placement
        for column in self._format.absent_columns:
            for name in dict.fromkeys((placement.rows, placement.whole)):
                placement.run(
                    self._connection,
                    f"ALTER TABLE {name}{placement.on} ADD COLUMN IF NOT EXISTS {column} UInt32",
                )
        placement.run(
            self._connection,
            f"ALTER TABLE {placement.whole}{placement.on} MODIFY COMMENT {quote(LEDGER.comment)}",
            is_queued=True,
        )
        self._format = _Format(LEDGER_RECORD.version)

    def now(self) -> int:
        """The server's time, in microseconds since 1970."""
        return int(self._connection.command("SELECT toUnixTimestamp64Micro(now64(6))"))

    def read(self, shard: int | None = None) -> dict[int, Entry]:
        """What the table holds of every shard, or of ``shard``, by shard number.

        Raises TableError if a newer release wrote the ledger, as ``claims`` does.
        """
        found = self._query(
            "shard, argMax(tuple(state, rows, files, at), "
            f"tuple(generation, {_LAST}, attempt, at)) AS last, max(attempt) AS attempts",
            "state IN ('loading', 'done', 'forgotten')",
            (0, 2**32 - 1) if shard is None else (shard, shard),
        )
        entries = {}
        for row in found:
            state, rows, files, at = row["last"].values()
            if state != "forgotten":
                listed = tuple(LoadedFile(**file) for file in json.loads(files))
                entries[row["shard"]] = Entry(
                    row["shard"], state, rows, listed, at, row["attempts"]
                )
        return entries

    def claims(self, first: int = 0, last: int = 2**32 - 1) -> dict[int, Claim]:
        """The last claims to the shards from ``first`` to ``last``, by shard number. If two workers
        have claimed one generation, which the engine prevents, the earlier claim counts."""
        claim = "tuple(generation, state = 'claimed', -toUnixTimestamp64Micro(at))"
        found = self._query(
            "shard, max(generation) AS last_generation, "
            f"argMaxIf(state, tuple(generation, {_LAST}, at), state != 'renewed') AS last_state, "
            f"argMax(worker, {claim}) AS owner, argMax(at, {claim}) AS claimed_at, "
            "dateDiff('microsecond', argMax(at, tuple(generation, at)), now64(6)) / 1e6 AS age",
            "1",
            (first, last),
        )
        return {
            row["shard"]: Claim(
                row["shard"],
                row["last_generation"],
                row["last_state"],
                row["owner"],
                row["claimed_at"],
                row["age"],
            )
            for row in found
        }

    def append(self, line: Line) -> None:
        """Write a line. The engine keeps a claim only if it is the first of its generation."""
        self._connection.command(
            f"INSERT INTO {self._name} "
            "(shard, state, rows, files, worker, generation, attempt) "
            "SELECT {shard:UInt32}, {state:String}, {rows:UInt64}, {files:String}, "
            "{worker:String}, {generation:UInt32}, {attempt:UInt32}",
            asdict(line) | {"files": json.dumps([asdict(file) for file in line.files])},
            self._insert_settings | {"insert_deduplication_token": line.token},
        )

    def forget(self, before: int) -> None:
        """Void the lines up to the time ``before``, as ``now`` gave it: their table was dropped. If
        another worker has made it anew since, that worker's lines are later and still count."""
        self._connection.command(
            f"INSERT INTO {self._name} (shard, state, files, generation) "
            f"SELECT shard, 'forgotten', '[]', max(generation) + 1 FROM {self._name} "
            "WHERE toUnixTimestamp64Micro(at) <= {before:Int64} GROUP BY shard",
            {"before": before},
            self._insert_settings | {"insert_deduplication_token": uuid.uuid4().hex},
        )

    def _query(self, columns: str, condition: str, shards: tuple[int, int]) -> list[dict[str, Any]]:
        absent = "".join(f", toUInt32(0) AS {column}" for column in self._format.absent_columns)
        found: list[dict[str, Any]] = self._connection.query(
            f"SELECT {columns} FROM (SELECT *{absent} FROM {self._name}) "
            f"WHERE {condition} AND shard BETWEEN {{first:UInt32}} AND {{last:UInt32}} "
            f"GROUP BY shard ORDER BY shard{self._consistent}",
            {"first": shards[0], "last": shards[1]},
        ).to_pylist()
        return found

    def settle(self) -> None:
        """Wait until every replica has all lines that any replica has (see Placement.settle)."""
        self._placement.settle(self._connection)

    @property
    def _insert_settings(self) -> dict[str, int | str]:
        return token_settings(self._connection) | self._placement.insert_settings

    @property
    def _consistent(self) -> str:
        """The end of a query that must see every line. A user who may only read does without."""
        steady = self._placement.steady
        may = steady and all(self._connection.features.may_set(n, v) for n, v in steady.items())
        return self._placement.consistent if may else ""

    @cached_property
    def _format(self) -> _Format:
        """Raises TableError if a newer release wrote the ledger."""
        made = read_definition(self._connection, self._table)
        if made is None:
            return _Format(LEDGER_RECORD.version)
        version = LEDGER_RECORD.version_of(made.comment, self._table) or 1
        absent = tuple(column for column in _NEW_COLUMNS if column not in made.columns)
        return _Format(version, absent)


def describe_files(shard: LocalShard) -> tuple[LoadedFile, ...]:
    """The files that a shard comes from, with the checksums of their local copies if there are
    any."""
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
