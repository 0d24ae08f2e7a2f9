"""Which of a run's shards comes next: one that no other worker has, until all are loaded."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cliphouse.loading import lease as lease_module
from cliphouse.loading.lease import Holding, Lease, Leases
from cliphouse.loading.ledger import Tenure
from cliphouse.shards.source import Source

Waiting = Callable[[Sequence[Holding]], None]


@dataclass(frozen=True)
class Turn:
    """A shard that is this worker's to load."""

    source: Source
    lease: Lease


class Turns:
    """The shards of a run that are to be loaded. ``before`` are the claims as they were when that
    was found out: a shard that is done by a later claim has been loaded by another worker."""

    def __init__(
        self, leases: Leases, to_do: Sequence[Source], before: Mapping[int, Tenure]
    ) -> None:
        self._leases = leases
        self._left = {source.number: source for source in to_do}
        self._before = {
            number: tenure for number, tenure in before.items() if tenure.state == "done"
        }
        self._chance = random.Random()
        self.by_others: list[Source] = []

    @property
    def is_over(self) -> bool:
        """Whether each shard has been loaded, or taken by this worker."""
        return not self._left

    @property
    def are_local(self) -> bool:
        """Whether all shards that are left can be read where they are."""
        return all(source.is_local for source in list(self._left.values()))

    def take(self) -> Iterator[Turn]:
        """Shards that nobody has, each claimed when it is asked for, until there is none."""
        was_late = False
        while free := self._look()[0]:
            # In rising order; but workers that met at one shard part at the next.
            number = self._chance.choice(list(free)) if was_late else next(iter(free))
            lease = self._leases.claim(number, free[number])
            was_late = lease is None
            if lease is not None:
                yield Turn(self._left.pop(number), lease)

    def put_back(self, turn: Turn) -> None:
        """A shard that another worker has taken over."""
        self._left[turn.source.number] = turn.source

    def wait(self, tell: Waiting | None) -> None:
        """Until one of the shards that others have is done, given back, or its worker dead.
        ``tell`` is called with who has them, whenever that has changed."""
        told: list[tuple[int, int]] = []
        while True:
            left = len(self._left)
            free, held = self._look()
            if free or len(self._left) < left:
                return
            now = [(holding.shard, holding.process) for holding in held]
            if tell is not None and now != told:
                tell(held)
                told = now
            time.sleep(lease_module.TIMES.look)

    def _look(self) -> tuple[dict[int, Tenure | None], list[Holding]]:
        """The shards that can be claimed, with the claim before, and those that others have; those
        that others have done are taken off the list."""
        free: dict[int, Tenure | None] = {}
        held: list[Holding] = []
        numbers = sorted(self._left)
        if not numbers:
            return free, held
        tenures = self._leases.tenures(numbers[0], numbers[-1])
        for number in numbers:
            tenure = tenures.get(number)
            holding = self._leases.holding(tenure)
            if holding is not None:
                held.append(holding)
            elif tenure is not None and self._is_done(tenure):
                self.by_others.append(self._left.pop(number))
            else:
                free[number] = tenure
        return free, held

    def _is_done(self, tenure: Tenure) -> bool:
        before = self._before.get(tenure.shard)
        return tenure.state == "done" and (before is None or tenure.generation > before.generation)
