"""The work that changes in a folder make, shard by shard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cliphouse.pictures.changes import Changes, RowChange
from cliphouse.pictures.find import Picture
from cliphouse.pictures.known import Known, KnownShard


@dataclass
class Job:
    """What is to be done to one shard. ``before`` is the shard as it is, None if it is new.
    ``changed`` are pictures to embed in the place of others, ``described`` such whose row gets
    another path, caption or time; both by their place in the files, as ``removed`` are. ``added``
    are new pictures."""

    number: int
    before: KnownShard | None
    changed: dict[int, Picture] = field(default_factory=dict)
    described: dict[int, RowChange] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    added: list[Picture] = field(default_factory=list)

    @property
    def pictures(self) -> list[Picture]:
        """The pictures to embed."""
        return [*self.changed.values(), *self.added]


def plan_jobs(changes: Changes, known: Known, shard_rows: int, first_number: int = 0) -> list[Job]:
    """The jobs in the order of their shards. New pictures fill the last shard up to ``shard_rows``
    rows, and then new ones, which are numbered from ``first_number`` on if there is none."""
    jobs: dict[int, Job] = {}

    def job(number: int) -> Job:
        return jobs.setdefault(number, Job(number, known.shards.get(number)))

    for change in changes.changed:
        job(change.row.shard).changed[change.row.place] = change.picture
    for change in changes.described:
        job(change.row.shard).described[change.row.place] = change
    for row in (*changes.gone, *changes.doubled):
        job(row.shard).removed.add(row.place)
    last = max(known.shards, default=first_number - 1)
    left = list(changes.new)
    if left and last in known.shards:
        room = max(0, shard_rows - known.shards[last].next_row)
        if room:
            job(last).added, left = left[:room], left[room:]
    for offset, start in enumerate(range(0, len(left), shard_rows), 1):
        job(last + offset).added = left[start : start + shard_rows]
    return [jobs[number] for number in sorted(jobs)]


def count_pictures(jobs: Iterable[Job]) -> int:
    """The pictures that all jobs embed."""
    return sum(len(job.pictures) for job in jobs)
