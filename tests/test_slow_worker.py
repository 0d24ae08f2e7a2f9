"""Every row once, in whatever order two workers of one shard look, send and stop."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cliphouse.engine.staging import StagedFile
from cliphouse.loading.inserter import Batch, Inserter
from cliphouse.shards import reader
from cliphouse.table import Table
from shard_files import MadeShard, make_shard
from test_ingest import unfinish

ROWS = 20
# Any subset, and large ones as often as small ones.
some_rows = st.integers(0, 2**ROWS - 1).map(
    lambda bits: {row for row in range(ROWS) if bits >> row & 1}
)


class StoppedError(Exception):
    """A worker that comes no further."""


class Slow:
    """What a worker was about to send when it was stopped, and sends later after all."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self._folder = folder
        self._rounds = rounds
        self.batches: list[Batch] = []
        self._insert = Inserter.insert

    def insert(self, inserter: Inserter, table: str, batches: Iterable[Batch]) -> Iterator[int]:
        """In the place of Inserter.insert: sends the batches of the first rounds, and stops with
        those of the last."""
        if self._rounds > 0:
            self._rounds -= 1
            yield from self._insert(inserter, table, batches)
            return
        for number, batch in enumerate(batches):
            assert isinstance(batch.rows, StagedFile)
            kept = shutil.copy(batch.rows.file, self._folder / f"late{number}.arrow")
            rows = StagedFile(batch.rows.columns, Path(kept))
            self.batches.append(replace(batch, rows=rows))
        raise StoppedError

    def send(self, table: Table, number: int) -> None:
        batch = self.batches[number]
        table.connection.insert("laion", batch.rows, batch.settings)


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


def begin(table: Table, made: MadeShard, arrived: set[int] | None) -> None:
    """The shard as a killed worker left it. It sent all, or nothing, and those of its rows have
    ``arrived`` that came in without the engine knowing their batches, as parts of these do on a
    cluster."""
    if arrived is None:
        table.ingest(made.folder)
        unfinish(table, made.number)
        return
    nothing = Slow(made.folder, rounds=0)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(Inserter, "insert", lambda *given: nothing.insert(*given))
        table.ingest(made.folder)
    table.sql(
        f"INSERT INTO laion SELECT * REPLACE (id + {made.number << 32} AS id) FROM whole "
        f"WHERE id IN {[*arrived, -1]}"
    )


numbers = itertools.count(1)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_slow_worker_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, shared: Table, data: st.DataObject
) -> None:
    """Any rows are there that arrived on their own, any are gone whose batch the engine knows. One
    worker looks, perhaps sends a round, and stops with the next. Another takes the shard, and what
    the first had on its way comes at any time before, between and after."""
    table = shared
    folder = tmp_path_factory.mktemp("t")
    made = make_shard(folder, next(numbers), rows=ROWS, seed=0)
    gone, gone_later = data.draw(some_rows), data.draw(some_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BATCH_ROWS", data.draw(st.integers(4, 12)))
        begin(table, made, data.draw(st.none() | some_rows))
        delete(table, made.number, gone)
        slow = Slow(folder, rounds=data.draw(st.integers(0, 1)))
        with pytest.MonkeyPatch.context() as stopping:
            stopping.setattr(Inserter, "insert", lambda *given: slow.insert(*given))
            with suppress(StoppedError):
                table.ingest(folder)
        if slow.batches:
            delete(table, made.number, gone_later)
        late = [(data.draw(st.integers(0, 4)), n) for n in range(len(slow.batches))]
        insert = Inserter.insert

        def insert_among(inserter: Inserter, name: str, batches: Iterable[Batch]) -> Iterator[int]:
            for step, count in enumerate(insert(inserter, name, batches)):
                for number in [n for when, n in late if when == step]:
                    slow.send(table, number)
                    late.remove((step, number))
                yield count

        patch.setattr(Inserter, "insert", insert_among)
        table.ingest(folder)
        for _, number in late:
            slow.send(table, number)
    found = table.sql(
        "SELECT id, image_embedding AS image FROM laion "
        f"WHERE bitShiftRight(id, 32) = {made.number} ORDER BY id"
    )
    assert found.column("id").to_pylist() == made.ids.tolist()
    assert np.array_equal(np.array(found.column("image").to_pylist(), "f4"), made.image)
