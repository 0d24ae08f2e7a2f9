"""What a caller of ingest chooses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cliphouse.loading.lease import MACHINE, TIMES, LeaseTimes
from cliphouse.shards.reader import BATCH_LIMITS, BatchLimits
from cliphouse.vocabulary import Codes, Precision


@dataclass(frozen=True)
class LoadSettings:
    """The numbers of a load that no user chooses: how much an insert holds, when a lease is renewed
    and lost, and what the ledger calls this machine."""

    batch: BatchLimits = BATCH_LIMITS
    times: LeaseTimes = TIMES
    machine: str = MACHINE


LOAD_SETTINGS = LoadSettings()


@dataclass(frozen=True)
class IngestOptions:
    """What is loaded, and into what kind of table.

    ``shards`` are the numbers of the shards to load, None for all. ``model`` is that of shards
    which do not name theirs. ``precision`` and ``codes`` are those of a new table, which is made on
    every node of ``cluster``, or on one server if that is None; it keeps the columns ``keep`` of
    the metadata, None for all. ``add_columns`` are added to a table that has been made. With
    ``replace``, the rows of changed shards are replaced. With ``move_roots``, a root that the table
    knows at another place than the shards has moved.
    """

    shards: Collection[int] | None = None
    model: str | None = None
    precision: Precision | None = None
    codes: Codes | None = None
    replace: bool = False
    cluster: str | None = None
    settings: LoadSettings = LOAD_SETTINGS
    keep: Sequence[str] | None = None
    add_columns: Sequence[str] = ()
    move_roots: bool = False
