"""Claims and what they are written in: one worker a shard, whatever has happened before."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import pytest

import cliphouse
from cliphouse.engine.connection import Connection
from cliphouse.errors import EngineError, TableError
from cliphouse.loading.lease import TIMES, ActiveLoad, LeaseLostError, Leases, LeaseTimes
from cliphouse.loading.ledger import Ledger
from cliphouse.loading.options import LoadSettings
from cliphouse.shards.reader import BatchLimits
from cliphouse.table import Table
from conftest import OpenTable
from hooked import Hooks, hooked_ingest, small_batches
from shard_files import make_shard
from standin.process import StandIn
from standin_cluster import TWO, write_config
from test_ingest import check_equal


class IntoTwo(Hooks):
    """Inserts into the table laion_two, and counts in ``sent`` what is sent under each token."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def insert(self, connection: Connection, table: str, rows: Any, settings: Any) -> None:
        token = settings["insert_deduplication_token"].split(":", 1)[1]
        self.sent[token] += rows.rows.num_rows
        connection.insert("laion_two", rows, settings)


def test_a_batch_that_arrives_in_part_is_completed_in_one_insert(tmp_path: Path) -> None:
    """Through a Distributed table over two shards that are one table: of each batch the engine
    takes the first shard's rows and drops the second's, which has the same token."""
    make_shard(tmp_path / "none", 7, rows=0)
    made = make_shard(tmp_path / "s", rows=200)
    config = write_config(tmp_path / "config.xml", TWO)
    into_two = IntoTwo()
    with (
        StandIn(tmp_path / "server", config=config) as server,
        cliphouse.open(server.url()) as table,
    ):
        table.ingest(tmp_path / "none")
        table.sql(
            "CREATE TABLE laion_two AS laion "
            "ENGINE = Distributed(two, currentDatabase(), laion, intHash64(id))"
        )
        hooked_ingest(server.url(), tmp_path / "s", into_two, small_batches(50))
        found = table.sql("SELECT id, caption FROM laion ORDER BY id")
    assert found.column("id").to_pylist() == list(range(200))
    assert found.column("caption").to_pylist() == made.metadata["caption"]
    sent, places = into_two.sent, ["0:0-50", "0:50-100", "0:100-150", "0:150-200"]
    assert set(sent) == {*places, *(f"r1:{place}" for place in places)}
    assert all(sent[place] == 50 and 0 < sent[f"r1:{place}"] < 50 for place in places)


def test_of_many_claims_one_stands(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", rows=0)
    table = open_table()
    table.ingest(tmp_path / "s")
    won: list[tuple[int, int]] = []
    together = threading.Barrier(4, timeout=30)

    def claim(worker: int) -> None:
        with Leases(table.connection, Ledger(table.connection, table.handle.placement)) as leases:
            for shard in range(1, 11):
                together.wait()
                if leases.claim(shard, None):
                    won.append((shard, worker))

    threads = [threading.Thread(target=claim, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(shard for shard, _ in won) == list(range(1, 11))


class LostAnswer(Hooks):
    """The first line of the ledger is written, and the answer lost. It is sent ``times`` more, or
    where that is 0, the load fails."""

    def __init__(self, times: int) -> None:
        self._times = times
        self._is_over = False

    def statement(self, sql: str, run: Callable[[], Any]) -> Any:
        found = run()
        if sql.startswith("INSERT INTO `laion_ledger` (shard, state, rows") and not self._is_over:
            self._is_over = True
            for _ in range(self._times):
                run()
            if self._times == 0:
                raise EngineError("the answer was lost")
        return found


@pytest.mark.parametrize("times", [0, 2])
def test_an_answer_to_a_claim_that_is_lost(
    tmp_path: Path, open_table: OpenTable, times: int
) -> None:
    """The claim stands. Sent again it is the same one; and where the load ends with the error, the
    next one in this process does not wait for it."""
    made = make_shard(tmp_path / "s")
    with pytest.raises(EngineError, match="was lost") if times == 0 else nullcontext():
        hooked_ingest(tmp_path / "laion.chdb", tmp_path / "s", LostAnswer(times))
    table = open_table()
    assert table.ingest(tmp_path / "s").inserted == (20 if times == 0 else 0)
    check_equal(table, made)
    claims = table.sql("SELECT count() AS n FROM laion_ledger WHERE state = 'claimed'")
    assert claims.to_pylist() == [{"n": 2 if times == 0 else 1}]


class TakenOver(Hooks):
    """Another worker claims shard 0 before the first insert; the inserts are counted."""

    def __init__(self, other: Leases) -> None:
        self._other = other
        self._lock = threading.Lock()
        self.inserts = 0

    def insert(self, connection: Connection, *given: Any) -> None:
        with self._lock:
            self.inserts += 1
            if self.inserts == 1:
                assert self._other.claim(0, self._other.claims(0, 0)[0])
        connection.insert(*given)


def test_a_lease_that_was_taken_is_noticed_before_the_next_insert(
    tmp_path: Path, open_table: OpenTable
) -> None:
    """Another worker claims the shard after the first batch; this one sends at most what was on
    its way, waits until the other is gone, and ends the shard."""
    settings = LoadSettings(BatchLimits(rows=2), LeaseTimes(renew=0.02, look=0.01))
    made = make_shard(tmp_path / "s", rows=40)
    table = open_table()
    make_shard(tmp_path / "other", 1, rows=0)
    table.ingest(tmp_path / "other")
    told: list[tuple[list[int], int]] = []
    with Leases(table.connection, Ledger(table.connection, table.handle.placement)) as other:
        taken_over = TakenOver(other)

        def told_to_wait(held: Sequence[ActiveLoad]) -> None:
            told.append(([one.shard for one in held], taken_over.inserts))
            other.__exit__(None, None, None)

        report = hooked_ingest(
            tmp_path / "laion.chdb", tmp_path / "s", taken_over, settings, told_to_wait
        )
    ((shards, before),) = told
    assert shards == [0]
    assert before < 20
    assert [(load.rows, load.by_others) for load in report.loads] == [(40, False)]
    check_equal(table, made)


def test_an_interrupt_as_a_shard_is_given_back_does_not_keep_it(
    tmp_path: Path, open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may go on, as a notebook's does."""
    make_shard(tmp_path / "s", rows=0)
    table = open_table()
    table.ingest(tmp_path / "s")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    leases = Leases(table.connection, Ledger(table.connection, table.handle.placement))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt), leases:
        assert leases.claim(0, leases.claims(0, 0)[0])
        patched.setattr(Ledger, "append", interrupted)
    with Leases(table.connection, Ledger(table.connection, table.handle.placement)) as later:
        assert later.active_load(later.claims(0, 0)[0]) is None


def test_a_worker_that_has_not_shown_signs_of_life_asks_first(
    tmp_path: Path, open_table: OpenTable
) -> None:
    """As one whose machine was asleep: it may go on, unless its shard was taken meanwhile."""
    make_shard(tmp_path / "s", rows=0)
    table = open_table()
    table.ingest(tmp_path / "s")
    with (
        Leases(table.connection, Ledger(table.connection, table.handle.placement)) as one,
        Leases(table.connection, Ledger(table.connection, table.handle.placement)) as other,
    ):
        mine = one.claim(1, None)
        assert mine is not None
        asleep = 2 * TIMES.renew + 1
        mine.confirmed -= asleep
        one.confirm(mine)
        assert other.claim(1, other.claims(1, 1)[1])
        one.confirm(mine)  # a moment ago it was this worker's
        mine.confirmed -= asleep
        with pytest.raises(LeaseLostError):
            one.confirm(mine)


def test_ledger_lines_deleted_by_hand_are_claimed_anew(
    tmp_path: Path, open_table: OpenTable
) -> None:
    """The engine remembers the tokens of lines that are gone."""
    made = make_shard(tmp_path / "s")
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("DELETE FROM laion WHERE 1")
    table.sql("DELETE FROM laion_ledger WHERE 1")
    assert table.ingest(tmp_path / "s").inserted == 20
    check_equal(table, made)


OLD_LEDGER = (
    "CREATE TABLE laion_ledger (shard UInt32, at DateTime64(6) DEFAULT now64(6), "
    "state LowCardinality(String), rows UInt64, files String, worker String) "
    "ENGINE = MergeTree ORDER BY (shard, at)"
)


def test_a_ledger_of_an_earlier_version_goes_on(tmp_path: Path, open_table: OpenTable) -> None:
    """One shard loaded, one half, one not begun, as the version before leases left them; and
    before anything is loaded, the table is only looked at."""
    shards = [make_shard(tmp_path / "s", number) for number in range(3)]
    table = open_table()
    table.ingest(tmp_path / "s", shards={0, 1})
    table.sql("RENAME TABLE laion_ledger TO new")
    table.sql(OLD_LEDGER)
    for state in ("loading", "done"):
        table.sql(
            "INSERT INTO laion_ledger (shard, state, rows, files, worker) "
            f"SELECT shard, '{state}', rows, files, 'host:1' FROM new WHERE state = '{state}' "
            "AND (state = 'loading' OR shard = 0)"
        )
    table.sql("DROP TABLE new")
    table.sql(f"DELETE FROM laion WHERE id >= {2**32 + 5}")
    summary = table.summary()
    assert (summary.shards, summary.loading, summary.unfinished) == (2, (), (1,))
    assert [f.where for f in table.check().findings] == ["shard 1"]
    report = table.ingest(tmp_path / "s")
    assert [load.inserted for load in report.loads] == [0, 15, 20]
    check_equal(table, *shards)
    assert table.check(tmp_path / "s").findings == ()


def test_a_late_beginner_does_not_forget_what_others_have_begun(
    tmp_path: Path, open_table: OpenTable
) -> None:
    """Two find the table dropped; one makes it and loads before the other has the ledger forget
    what was loaded into the table before."""
    made = make_shard(tmp_path / "s")
    table = open_table()
    table.ingest(tmp_path / "s")
    ledger = Ledger(table.connection, table.handle.placement)
    table.sql("DROP TABLE laion")
    asked = ledger.now()
    assert table.ingest(tmp_path / "s").inserted == 20
    ledger.forget(asked)
    assert table.ingest(tmp_path / "s").inserted == 0
    check_equal(table, made)
    assert table.summary().shards == 1


@pytest.mark.parametrize(("is_remote", "claimed"), [(False, 1), (True, 2)])
def test_shards_are_not_claimed_far_ahead(
    tmp_path: Path, open_table: OpenTable, is_remote: bool, claimed: int
) -> None:
    """One, and the next where it must be copied."""
    made = [make_shard(tmp_path / "s", number) for number in range(5)]
    store = fsspec.filesystem("memory")
    store.put(str(tmp_path / "s") + "/", "/not-ahead/", recursive=True)
    table = open_table()
    open_at_once: list[int] = []

    def look(done: int, total: int) -> None:
        with Table(tmp_path / "laion.chdb") as other:
            claims = Ledger(other.connection, other.handle.placement).claims()
        open_at_once.append(sum(claim.is_open for claim in claims.values()))

    table.ingest("memory://not-ahead" if is_remote else tmp_path / "s", progress=look)
    assert max(open_at_once) <= claimed
    check_equal(table, *made)


def test_another_s_shard_must_be_of_the_same_files(tmp_path: Path, open_table: OpenTable) -> None:
    """Found out at the end, where the other has loaded it meanwhile."""
    make_shard(tmp_path / "s", 0)
    make_shard(tmp_path / "s", 1)
    make_shard(tmp_path / "other", 1, rows=12)
    table = open_table()

    def load_other(done: int, total: int) -> None:
        with Table(tmp_path / "laion.chdb") as other:
            other.ingest(tmp_path / "other")

    with pytest.raises(TableError, match="shard 1: its files have changed since it was loaded"):
        table.ingest(tmp_path / "s", progress=load_other)
