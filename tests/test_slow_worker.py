"""Every row once, in whatever order two workers of one shard look, send and stop."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cliphouse.engine.connection import Connection, Parameters
from cliphouse.engine.staging import StagedFile, StagedRows
from cliphouse.loading.options import LoadSettings
from cliphouse.table import Table
from hooked import Hooks, hooked_ingest, small_batches
from shard_files import MadeShard, make_shard
from test_ingest import unfinish
from thorough import examples

ROWS = 20
# Any subset, and large ones as often as small ones.
some_rows = st.integers(0, 2**ROWS - 1).map(
    lambda bits: {row for row in range(ROWS) if bits >> row & 1}
)


class StoppedError(Exception):
    """A worker that comes no further."""


@dataclass(frozen=True)
class Batch:
    """What was about to be inserted."""

    rows: StagedFile
    settings: Parameters


class Slow(Hooks):
    """A worker that sends the batches of the first ``rounds``, and stops with those of the next on
    their way, which it sends later after all. A round ends with a look for what is missing."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self._folder = folder
        self._rounds = rounds
        self._has_sent = False
        self._lock = threading.Lock()
        self.batches: list[Batch] = []

    def insert(
        self, connection: Connection, table: str, rows: StagedRows, settings: Parameters
    ) -> None:
        if self._rounds > 0:
            self._has_sent = True
            connection.insert(table, rows, settings)
            return
        assert isinstance(rows, StagedFile)
        with self._lock:
            kept = self._folder / f"late{len(self.batches)}.arrow"
            shutil.move(rows.file, kept)
            self.batches.append(Batch(replace(rows, file=kept), settings))

    def statement(self, sql: str, run: Callable[[], Any]) -> Any:
        if sql.startswith("SELECT id FROM"):
            if self.batches:
                raise StoppedError
            self._rounds -= self._has_sent
            self._has_sent = False
        return run()


class Among(Hooks):
    """Another worker, among whose inserts those of ``late`` arrive: each just before the insert of
    its number."""

    def __init__(self, late: list[tuple[int, Batch]]) -> None:
        self._late = late
        self._lock = threading.Lock()
        self._inserts = 0

    def insert(self, connection: Connection, *given: Any) -> None:
        with self._lock:
            for pair in [pair for pair in self._late if pair[0] == self._inserts]:
                send(connection, pair[1])
                self._late.remove(pair)
            self._inserts += 1
        connection.insert(*given)


def send(connection: Connection, batch: Batch) -> None:
    connection.insert("laion", batch.rows, batch.settings)


def delete(table: Table, shard: int, rows: set[int]) -> None:
    if rows:
        listed = ", ".join(str((shard << 32) + row) for row in rows)
        table.connection.command(f"DELETE FROM laion WHERE id IN ({listed})")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    """A table in which each example has a shard of its own; ``whole`` has the rows of shard 0."""
    folder = tmp_path_factory.mktemp("shared")
    make_shard(folder / "s", rows=ROWS)
    with Table(folder / "db") as table:
        table.ingest(folder / "s")
        table.sql("CREATE TABLE whole AS laion")
        table.sql("INSERT INTO whole SELECT * FROM laion")
        yield table


def begin(table: Table, made: MadeShard, small: LoadSettings, arrived: set[int] | None) -> None:
    """The shard as a killed worker left it. It sent all, or nothing, and those of its rows have
    ``arrived`` that came in without the engine knowing their batches, as parts of these do on a
    cluster."""
    if arrived is None:
        table.ingest(made.folder, settings=small)
        unfinish(table, made.number)
        return
    with pytest.raises(StoppedError):
        hooked_ingest(table.address.shown, made.folder, Slow(made.folder, rounds=0), small)
    table.sql(
        f"INSERT INTO laion SELECT * REPLACE (id + {made.number << 32} AS id) FROM whole "
        f"WHERE id IN {[*arrived, -1]}"
    )


numbers = itertools.count(1)


@settings(max_examples=examples(2, 10), deadline=None)
@given(st.data())
def test_a_slow_worker_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, shared: Table, data: st.DataObject
) -> None:
    """Any rows are there that arrived on their own, any are gone whose batch the engine knows. One
    worker looks, perhaps sends a round, and stops with the next. Another takes the shard, and what
    the first had on its way comes at any time before, between and after."""
    table, db = shared, shared.address.shown
    folder = tmp_path_factory.mktemp("t")
    made = make_shard(folder, next(numbers), rows=ROWS, seed=0)
    gone, gone_later = data.draw(some_rows), data.draw(some_rows)
    small = small_batches(data.draw(st.integers(4, 12)))
    begin(table, made, small, data.draw(st.none() | some_rows))
    delete(table, made.number, gone)
    slow = Slow(folder, rounds=data.draw(st.integers(0, 1)))
    with suppress(StoppedError):
        hooked_ingest(db, folder, slow, small)
    if slow.batches:
        delete(table, made.number, gone_later)
    late = [(data.draw(st.integers(0, 4)), batch) for batch in slow.batches]
    hooked_ingest(db, folder, Among(late), small)
    for _, batch in late:
        send(table.connection, batch)
    found = table.sql(
        "SELECT id, image_embedding AS image FROM laion "
        f"WHERE bitShiftRight(id, 32) = {made.number} ORDER BY id"
    )
    assert found.column("id").to_pylist() == made.ids.tolist()
    assert np.array_equal(np.array(found.column("image").to_pylist(), "f4"), made.image)
