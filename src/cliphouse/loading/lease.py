"""Leases: a worker claims a shard, sends heartbeats while it loads it, and gives it back.

A claim is a line of the ledger under a token of its shard and generation. If two workers claim a
shard at once, the engine keeps the first line and drops the other, and both then read which worker
has the shard. A worker sends a heartbeat for each of its shards every LeaseTimes.renew seconds. If
none has come for LeaseTimes.dead seconds, any worker may take the shard over. A worker on the same
machine may do so as soon as the process is gone.
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

from cliphouse.engine.connection import Connection
from cliphouse.engine.retry import RETRY_SECONDS
from cliphouse.engine.workspace import is_running
from cliphouse.errors import CliphouseError
from cliphouse.loading.ledger import Claim, Entry, Ledger, Line
from cliphouse.schema.handle import TableHandle
from cliphouse.wording import moment


@dataclass(frozen=True)
class LeaseTimes:
    """In seconds: the time between two heartbeats, the time without one after which a worker is
    taken for dead, and the time between two looks at shards that other workers have."""

    renew: float = 30.0
    dead: float = 300.0
    look: float = 5.0


TIMES = LeaseTimes()
_READ_BACK = (0.0, 0.05, 0.2, 0.5)  # in seconds: a replica may lag behind the one written to
_running_keys: set[str] = set()  # of this process's workers


class LeaseLostError(Exception):
    """Another worker has the shard now, or the load that asks for it has ended."""


def _machine() -> str:
    """This machine's name and, on Linux, its process namespace: containers may share a name without
    seeing each other's processes."""
    with suppress(OSError):
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').stat().st_ino:x}"
    return socket.gethostname()


MACHINE = _machine()


@dataclass(frozen=True)
class Worker:
    """A running load: its machine, its process number, and a random key, since process numbers are
    used again."""

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

    def has_ended(self, is_embedded: bool, here: str) -> bool:
        """Whether the load is known, on the machine ``here``, to have ended. Of other machines that
        is never known; but only this process can load into an embedded database that it has open.
        """
        if self.process == os.getpid() and self.machine == here:
            return self.key not in _running_keys
        return is_embedded or (self.machine == here and not is_running(self.process))


@dataclass(frozen=True)
class ActiveLoad:
    """A shard that a live worker is loading. ``silence`` is in seconds since its last heartbeat."""

    shard: int
    host: str
    process: int
    since: str
    silence: float

    def describe(self) -> str:
        return f"shard {self.shard} by {self.host}, process {self.process}, since {self.since}"


def active_load(
    claim: Claim | None, is_embedded: bool, times: LeaseTimes = TIMES, here: str = MACHINE
) -> ActiveLoad | None:
    """The load that a claim stands for, as the machine ``here`` sees it; None if the shard is free
    to be claimed."""
    if claim is None or not claim.is_open or claim.seconds_since_heartbeat > times.dead:
        return None
    worker = Worker.parse(claim.worker)
    if worker.has_ended(is_embedded, here):
        return None
    since = moment(claim.claimed_at, seconds=True)
    return ActiveLoad(
        claim.shard, worker.host, worker.process, since, claim.seconds_since_heartbeat
    )


@dataclass(frozen=True)
class LoadStatus:
    """What a ledger says about loads: what is known of each shard, the loads that are running, and
    the shards whose load was cut off."""

    entries: dict[int, Entry]
    loading: tuple[ActiveLoad, ...]
    unfinished: tuple[int, ...]


def read_load_status(table: TableHandle) -> LoadStatus:
    """The status of all shards of a table, empty if it has no ledger."""
    ledger, is_embedded = Ledger.of(table), table.connection.is_embedded
    if ledger is None:
        return LoadStatus({}, (), ())
    # In this order: a shard that seems to be cut off may have been finished between the two
    # readings, so it is looked at once more.
    entries = ledger.read()
    active = (active_load(claim, is_embedded) for claim in ledger.claims().values())
    loading = tuple(load for load in active if load is not None)
    held = {load.shard for load in loading}
    left = [n for n, entry in entries.items() if entry.state != "done" and n not in held]
    again = ledger.read() if left else {}
    unfinished = (n for n in left if n in again and again[n].state != "done")
    return LoadStatus(entries, loading, tuple(unfinished))


@dataclass(eq=False)
class Lease:
    """A shard that this worker has claimed. ``confirmed`` is when the ledger last said so, by the
    monotonic clock."""

    shard: int
    generation: int
    confirmed: float
    lost: bool = False


class Leases:
    """The leases of this worker. A thread renews them as long as the block lasts; the end of the
    block releases them. Any thread may call the methods."""

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        times: LeaseTimes = TIMES,
        machine: str = MACHINE,
    ) -> None:
        """``machine`` is what the ledger calls this machine."""
        self.times = times
        self._is_embedded = connection.is_embedded
        self._connection = connection.clone()
        self._ledger = ledger.on(self._connection)
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, daemon=True)
        self._held: dict[int, Lease] = {}
        self._last_tried: dict[int, int] = {}  # generations, by shard
        self.worker = Worker(machine, os.getpid(), uuid.uuid4().hex[:8])

    def claims(self, first: int, last: int) -> dict[int, Claim]:
        """The last claims to the shards from ``first`` to ``last``, by shard number."""
        with self._while_open():
            return self._ledger.claims(first, last)

    def active_load(self, claim: Claim | None) -> ActiveLoad | None:
        """The load that a claim stands for; None if the shard is free to be claimed."""
        return active_load(claim, self._is_embedded, self.times, self.worker.machine)

    def claim(self, shard: int, previous: Claim | None) -> Lease | None:
        """Claim a shard whose last claim was ``previous``; None if another worker was faster."""
        with self._while_open():
            last = max(previous.generation if previous else 0, self._last_tried.get(shard, 0))
            generation = last + 1
            asked = time.monotonic()
            self._ledger.append(Line(shard, "claimed", generation, str(self.worker)))
            kept = self._read_back(shard, generation)
            if kept is None:
                # A line with this token was deleted by hand, and the engine remembers the token.
                self._last_tried[shard] = generation
                return None
            if (kept.generation, kept.worker) != (generation, str(self.worker)):
                return None
            lease = self._held[shard] = Lease(shard, generation, asked)
            return lease

    def confirm(self, lease: Lease, at_once: bool = False) -> None:
        """Make sure, before anything is written, that this worker still has the shard.

        The ledger is asked only if a heartbeat is overdue, as in a process that was stopped for a
        while, or if ``at_once``. Raises LeaseLostError if another worker has the shard.
        """
        if at_once or time.monotonic() - lease.confirmed > 2 * self.times.renew:
            self._renew()
        if lease.lost:
            raise LeaseLostError

    def record(self, lease: Lease, entry: Entry) -> None:
        """Write ``entry`` to the ledger; one that is ``done`` ends the lease.

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
        """Raises LeaseLostError after the end: a thread that claims ahead may still be running."""
        with self._lock:
            if self._stop.is_set():
                raise LeaseLostError
            yield

    def _read_back(self, shard: int, generation: int) -> Claim | None:
        """The last claim to the shard, once the ledger shows ``generation``; None if it does not
        show it in time."""
        for seconds in _READ_BACK:
            time.sleep(seconds)
            claim = self._ledger.claims(shard, shard).get(shard)
            if claim is not None and claim.generation >= generation:
                return claim
        return None

    def _renew(self) -> None:
        """Send a heartbeat for each shard, and look whether this worker still has it."""
        with self._lock:
            for lease in list(self._held.values()):
                asked = time.monotonic()
                self._ledger.append(
                    Line(lease.shard, "renewed", lease.generation, str(self.worker))
                )
                if self._is_taken_over(lease):
                    lease.lost = True
                    del self._held[lease.shard]
                else:
                    lease.confirmed = asked

    def _is_taken_over(self, lease: Lease) -> bool:
        """Whether the ledger shows another worker's claim. An older claim than the lease's comes
        from a replica that lags behind."""
        claim = self._ledger.claims(lease.shard, lease.shard).get(lease.shard)
        if claim is None or claim.generation < lease.generation:
            return False
        return (claim.generation, claim.worker) != (lease.generation, str(self.worker))

    def _send_heartbeats(self) -> None:
        while not self._stop.wait(self.times.renew):
            with suppress(CliphouseError):  # a server that is away may be back the next time
                self._renew()

    def _release(self) -> None:
        for lease in self._held.values():
            self._ledger.append(Line(lease.shard, "released", lease.generation, str(self.worker)))

    def __enter__(self) -> Leases:
        _running_keys.add(self.worker.key)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._lock:
                self._stop.set()
            self._thread.join()
            with self._lock:
                own = self._connection.retry_seconds
                self._connection.retry_seconds = min(own, RETRY_SECONDS)
                with suppress(CliphouseError):  # then they are free after times.dead
                    self._release()
        finally:  # an interrupt may come at any of these, and the process go on
            _running_keys.discard(self.worker.key)
            with self._lock:
                self._connection.close()
