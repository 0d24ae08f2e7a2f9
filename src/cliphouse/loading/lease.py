"""Who loads which shard: a worker claims it, shows that it lives, and gives it back.

A claim is a line of the ledger under a token of its shard and generation. Where two workers claim
at once, the engine keeps the first line and drops the other, and both then read whose it is. A
worker writes a line for each shard that it has every TIMES.renew seconds; one that has been silent
for TIMES.dead may be relieved of its shards by anybody, and one whose process is gone at once by
those of its own machine, who can tell.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from cliphouse.cluster.placement import Placement
from cliphouse.engine.connection import Connection
from cliphouse.engine.retry import RETRY_SECONDS
from cliphouse.engine.workspace import is_running
from cliphouse.errors import CliphouseError
from cliphouse.loading.ledger import Entry, Ledger, Line, Tenure


@dataclass(frozen=True)
class LeaseTimes:
    """In seconds: between two signs of life, the silence after which a worker is taken for dead,
    and between two looks at a shard that another worker has."""

    renew: float = 30.0
    dead: float = 300.0
    look: float = 5.0


TIMES = LeaseTimes()
_READ_BACK = (0.0, 0.05, 0.2, 0.5)  # in seconds: a replica may lag behind the one written to
_working: set[str] = set()  # the keys of this process's workers


class LeaseLostError(Exception):
    """The shard is another worker's now, or the load that asks for it has ended."""


def _machine() -> str:
    """This machine's name and, on Linux, its process numbers' space: containers may share a name,
    and do not see each other's processes."""
    with suppress(OSError):
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').stat().st_ino:x}"
    return socket.gethostname()


MACHINE = _machine()


@dataclass(frozen=True)
class Worker:
    """A load under way: its machine, its process and a random key, since numbers come again."""

    machine: str
    process: int
    key: str

    @classmethod
    def parse(cls, text: str) -> Worker:
        machine, process, key = text.rsplit(":", 2)
        return cls(machine, int(process), key)

    def __str__(self) -> str:
        return f"{self.machine}:{self.process}:{self.key}"

    @property
    def host(self) -> str:
        return self.machine.partition("/")[0]

    def has_ended(self, is_embedded: bool) -> bool:
        """Whether the load is known to have ended: of other machines that cannot be told, but an
        embedded database has only this process."""
        if self.process == os.getpid() and self.machine == MACHINE:
            return self.key not in _working
        return is_embedded or (self.machine == MACHINE and not is_running(self.process))


@dataclass(frozen=True)
class Holding:
    """A shard that is being loaded, by a worker that lives. ``silence`` is in seconds since its
    last sign of life."""

    shard: int
    host: str
    process: int
    since: str
    silence: float

    def describe(self) -> str:
        return f"shard {self.shard} by {self.host}, process {self.process}, since {self.since}"


def holding(tenure: Tenure | None, is_embedded: bool) -> Holding | None:
    """Who has the shard; None where it can be taken."""
    if tenure is None or not tenure.is_open or tenure.silence > TIMES.dead:
        return None
    worker = Worker.parse(tenure.worker)
    if worker.has_ended(is_embedded):
        return None
    since = f"{tenure.since:%Y-%m-%d %H:%M:%S}"
    return Holding(tenure.shard, worker.host, worker.process, since, tenure.silence)


def holdings(connection: Connection, ledger: Ledger) -> tuple[Holding, ...]:
    """All shards that are being loaded at this moment."""
    held = (holding(t, connection.is_embedded) for t in ledger.tenures().values())
    return tuple(found for found in held if found is not None)


@dataclass(frozen=True)
class Loads:
    """What a ledger tells of loads: of each shard what is known, which are being loaded at this
    moment, and which were begun and nobody finishes."""

    entries: dict[int, Entry]
    loading: tuple[Holding, ...]
    unfinished: tuple[int, ...]


def read_loads(connection: Connection, ledger: Ledger) -> Loads:
    """Empty where there is no ledger."""
    if not ledger.exists():
        return Loads({}, (), ())
    # In this order: what seems to be left may have been finished between the two readings, so it
    # is looked at once more.
    entries, loading = ledger.read(), holdings(connection, ledger)
    held = {holding.shard for holding in loading}
    left = [n for n, entry in entries.items() if entry.state != "done" and n not in held]
    again = ledger.read() if left else {}
    unfinished = (n for n in left if n in again and again[n].state != "done")
    return Loads(entries, loading, tuple(unfinished))


@dataclass(eq=False)
class Lease:
    """A shard that this worker has. ``confirmed`` is when that was last seen, by the monotonic
    clock."""

    shard: int
    generation: int
    confirmed: float
    lost: bool = False


class Leases:
    """The shards of this worker, renewed by a thread for as long as the block lasts. What it has
    left at the end it gives back. Its methods may be called by any thread."""

    def __init__(self, connection: Connection, placement: Placement) -> None:
        """For the table at ``placement``."""
        self._is_embedded = connection.is_embedded
        self._connection = connection.clone()
        self._ledger = Ledger(self._connection, placement)
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._held: dict[int, Lease] = {}
        self._tried: dict[int, int] = {}
        self.worker = Worker(MACHINE, os.getpid(), uuid.uuid4().hex[:8])

    def tenures(self, first: int, last: int) -> dict[int, Tenure]:
        """The last claims to the shards from ``first`` to ``last``."""
        with self._while_open():
            return self._ledger.tenures(first, last)

    def holding(self, tenure: Tenure | None) -> Holding | None:
        """Who has the shard; None where it can be claimed."""
        return holding(tenure, self._is_embedded)

    def claim(self, shard: int, before: Tenure | None) -> Lease | None:
        """Claim a shard whose last claim was ``before``; None where another worker was faster."""
        with self._while_open():
            last = max(before.generation if before else 0, self._tried.get(shard, 0))
            asked = time.monotonic()
            self._ledger.append(Line(shard, "claimed", last + 1, str(self.worker)))
            stands = self._read_back(shard, last + 1)
            if stands is None:
                # Its line has been deleted by hand, and the engine remembers the token.
                self._tried[shard] = last + 1
                return None
            if (stands.generation, stands.worker) != (last + 1, str(self.worker)):
                return None
            lease = self._held[shard] = Lease(shard, last + 1, asked)
            return lease

    def confirm(self, lease: Lease, at_once: bool = False) -> None:
        """Before anything is written: raises LeaseLostError where another worker has the shard.

        The ledger is asked where signs of life are overdue, as in a process that was stopped for
        a while, or ``at_once``.
        """
        if at_once or time.monotonic() - lease.confirmed > 2 * TIMES.renew:
            self._renew()
        if lease.lost:
            raise LeaseLostError

    def note(self, lease: Lease, entry: Entry) -> None:
        """Write what is known of the shard's rows; with ``done`` the lease ends.

        Raises LeaseLostError as ``confirm`` does.
        """
        self.confirm(lease)
        with self._lock:
            self._ledger.append(
                Line(
                    entry.shard,
                    entry.state,
                    lease.generation,
                    str(self.worker),
                    entry.rows,
                    entry.files,
                    entry.attempt,
                )
            )
            if entry.state == "done":
                self._held.pop(lease.shard, None)

    @contextmanager
    def _while_open(self) -> Iterator[None]:
        """A thread that reads ahead may still be at it when the load has ended."""
        with self._lock:
            if self._stop.is_set():
                raise LeaseLostError
            yield

    def _read_back(self, shard: int, generation: int) -> Tenure | None:
        for seconds in _READ_BACK:
            time.sleep(seconds)
            tenure = self._ledger.tenures(shard, shard).get(shard)
            if tenure is not None and tenure.generation >= generation:
                return tenure
        return None

    def _renew(self) -> None:
        """A line for each shard, and then a look whether it is still this worker's."""
        with self._lock:
            asked = time.monotonic()
            for lease in list(self._held.values()):
                self._ledger.append(
                    Line(lease.shard, "renewed", lease.generation, str(self.worker))
                )
                tenure = self._ledger.tenures(lease.shard, lease.shard).get(lease.shard)
                mine = (lease.generation, str(self.worker))
                # An older claim is what a replica that lags behind knows.
                if (
                    tenure
                    and tenure.generation >= lease.generation
                    and mine
                    != (
                        tenure.generation,
                        tenure.worker,
                    )
                ):
                    lease.lost = True
                    del self._held[lease.shard]
                else:
                    lease.confirmed = asked

    def _keep(self) -> None:
        while not self._stop.wait(TIMES.renew):
            with suppress(CliphouseError):  # a server that is away may be back the next time
                self._renew()

    def _release(self) -> None:
        for lease in self._held.values():
            self._ledger.append(Line(lease.shard, "released", lease.generation, str(self.worker)))

    def __enter__(self) -> Leases:
        _working.add(self.worker.key)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._stop.set()
        self._thread.join()
        with self._lock:
            self._connection.retry_seconds = RETRY_SECONDS
            with suppress(CliphouseError):  # then they are free after TIMES.dead
                self._release()
            _working.discard(self.worker.key)
            self._connection.close()
