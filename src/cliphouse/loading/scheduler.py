"""Which shard of a run comes next: one that no other worker is loading, until all are loaded."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cliphouse.loading.lease import ActiveLoad, Lease, Leases
from cliphouse.loading.ledger import Claim
from cliphouse.shards.source import Source

OnWait = Callable[[Sequence[ActiveLoad]], None]


@dataclass(frozen=True)
class Assignment:
    """A shard that this worker is to load, and its lease."""

    source: Source
    lease: Lease


@dataclass(frozen=True)
class _Availability:
    """The shards that can be claimed, each with its previous claim, and the loads of other
    workers."""

    free: Mapping[int, Claim | None]
    active: Sequence[ActiveLoad]


class Scheduler:
    """Hands out the shards that a run has to load. ``loaded_by_others`` are shards that other
    workers have loaded since the run began."""

    def __init__(
        self, leases: Leases, to_do: Sequence[Source], before: Mapping[int, Claim]
    ) -> None:
        """``before`` are the claims as they were when ``to_do`` was determined: a shard that a
        later claim has loaded was loaded by another worker."""
        self._leases = leases
        self._left = {source.number: source for source in to_do}
        self._done_before = {
            number: claim for number, claim in before.items() if claim.state == "done"
        }
        self._random = random.Random()
        self.loaded_by_others: list[Source] = []

    @property
    def is_finished(self) -> bool:
        """Whether each shard has been loaded, or assigned to this worker."""
        return not self._left

    @property
    def are_local(self) -> bool:
        """Whether all shards that are left can be read where they are."""
        return all(source.is_local for source in list(self._left.values()))

    def assign(self) -> Iterator[Assignment]:
        """Claim free shards, each when it is asked for, until none is free."""
        was_late = False
        while free := self._look().free:
            # In rising order; but workers that met at one shard should not meet at the next.
            number = self._random.choice(list(free)) if was_late else next(iter(free))
            lease = self._leases.claim(number, free[number])
            was_late = lease is None
            if lease is not None:
                yield Assignment(self._left.pop(number), lease)

    def put_back(self, assignment: Assignment) -> None:
        """Return a shard that another worker has taken over to those that are left."""
        self._left[assignment.source.number] = assignment.source

    def wait(self, on_wait: OnWait | None) -> None:
        """Wait until a shard of another worker is loaded or free.

        ``on_wait`` is called with the loads of other workers, first and whenever they change.
        """
        reported: list[tuple[int, int]] = []
        while True:
            left = len(self._left)
            found = self._look()
            if found.free or len(self._left) < left:
                return
            now = [(load.shard, load.process) for load in found.active]
            if on_wait is not None and now != reported:
                on_wait(found.active)
                reported = now
            time.sleep(self._leases.times.look)

    def _look(self) -> _Availability:
        """Read the claims of all shards that are left, and set those aside that other workers have
        loaded."""
        free: dict[int, Claim | None] = {}
        active: list[ActiveLoad] = []
        numbers = sorted(self._left)
        claims = self._leases.claims(numbers[0], numbers[-1]) if numbers else {}
        for number in numbers:
            claim = claims.get(number)
            load = self._leases.active_load(claim)
            if load is not None:
                active.append(load)
            elif claim is not None and self._is_done(claim):
                self.loaded_by_others.append(self._left.pop(number))
            else:
                free[number] = claim
        return _Availability(free, active)

    def _is_done(self, claim: Claim) -> bool:
        """Whether the shard has been loaded since the run began."""
        before = self._done_before.get(claim.shard)
        return claim.state == "done" and (before is None or claim.generation > before.generation)
