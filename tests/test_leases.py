"""Loading by many machines: each shard by one worker, and by another where that one dies."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cliphouse
from cliphouse.errors import TableError
from cliphouse.table import Table
from machines import Load
from shard_files import make_shard
from thorough import examples

ROWS, SHARDS = 100, 4  # four batches a shard
_CHECKSUM = (
    "SELECT count() AS rows, uniqExact(id) AS ids, sum(cityHash64(id, url, caption, NSFW, "
    "similarity, image_embedding, text_embedding, width, height, license)) AS checksum FROM laion"
)
DEAD = 2.0
QUICK = {"renew": 0.2, "dead": DEAD}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards in s; no test changes them."""
    made = tmp_path_factory.mktemp("shards")
    for number in range(SHARDS):
        make_shard(made / "s", number, rows=ROWS, dim=16)
    return made


@pytest.fixture(scope="module")
def clean(folder: Path) -> list[dict[str, Any]]:
    """The checksum of a table that one process has loaded in one run."""
    with Table(folder / "clean") as table:
        table.ingest(folder / "s")
        return list(table.sql(_CHECKSUM).to_pylist())


def lines(table: Table, state: str) -> dict[int, list[str]]:
    """The machines that have written a line of that state, shard by shard, in order."""
    found = table.sql(
        "SELECT shard, groupArray(splitByChar(':', worker)[1]) AS machines FROM "
        f"(SELECT * FROM laion_ledger WHERE state = '{state}' ORDER BY at) GROUP BY shard"
    )
    return {row["shard"]: row["machines"] for row in found.to_pylist()}


def test_many_machines_share_the_shards(
    folder: Path, url: str, clean: list[dict[str, Any]]
) -> None:
    """Five begin at once on a database without tables, some with all shards and some with a part of
    them; each shard is loaded by one."""
    shards = ("all", "all", "all", "0-2", "1-3")
    loads = [
        Load(folder, url, "--shards", chosen, machine=f"m{i}") for i, chosen in enumerate(shards)
    ]
    ended = [load.end() for load in [load.start() for load in loads]]
    assert [end.code for end in ended] == [0] * 5, ended
    reports = [end.report["loads"] for end in ended if end.report]
    assert [len(report) for report in reports] == [4, 4, 4, 3, 3]
    loaded = Counter(one["shard"] for report in reports for one in report if one["inserted"])
    assert loaded == dict.fromkeys(range(SHARDS), 1)
    assert all(one["inserted"] in (0, ROWS) for report in reports for one in report)
    with cliphouse.open(url) as table:
        assert table.sql(_CHECKSUM).to_pylist() == clean
        assert table.check(folder / "s").findings == ()
        claimed = lines(table, "claimed")
        assert claimed == lines(table, "done")
        assert {len(machines) for machines in claimed.values()} == {1}
        # Few lines: a claim, the files, the end; no sign of life in so short a time.
        assert table.sql("SELECT count() AS n FROM laion_ledger").to_pylist() == [{"n": 3 * SHARDS}]


def test_the_dead_of_another_machine_are_relieved(
    folder: Path, url: str, clean: list[dict[str, Any]]
) -> None:
    """They are waited for while they show that they live, and for the lease's length after."""
    first = Load(folder, url, machine="elsewhere", before_insert=7, **QUICK).start()
    with cliphouse.open(url) as table:
        ends = time.monotonic() + 60
        while "renewed" not in _states(table, 1):
            assert time.monotonic() < ends
        taker = Load(folder, url, machine="here", **QUICK).start()
        said = taker.hear("waiting")
        assert said.startswith(f"waiting for shard 1 by elsewhere, process {first.process}, since")
        first.signal(signal.SIGKILL)
        first.end()
        ended = taker.end()
        assert ended.code == 0, ended
        assert table.sql(_CHECKSUM).to_pylist() == clean
        assert lines(table, "claimed")[1] == ["elsewhere", "here"]
        assert lines(table, "done")[1] == ["here"]
        waited = table.sql(
            "SELECT minIf(at, generation = 2) - maxIf(at, generation = 1) AS seconds "
            "FROM laion_ledger WHERE shard = 1"
        )
        assert waited.column("seconds")[0].as_py() > DEAD


def _states(table: Table, shard: int) -> list[str]:
    """The states of a shard's lines, where there is a ledger yet."""
    with suppress(TableError):
        found = table.sql(f"SELECT state FROM laion_ledger WHERE shard = {shard} ORDER BY at")
        return list(found.column("state").to_pylist())
    return []


def test_the_dead_of_this_machine_are_not_waited_for(
    folder: Path, url: str, clean: list[dict[str, Any]]
) -> None:
    """With the times as they are, in which a machine's silence would be borne for five minutes."""
    for insert in (1, 6):
        dead = Load(folder, url, signal=signal.SIGKILL, before_insert=insert).start().end()
        assert dead.code == -signal.SIGKILL
    last = Load(folder, url).start().end()
    assert last.code == 0
    assert "waiting" not in last.said
    with cliphouse.open(url) as table:
        assert table.sql(_CHECKSUM).to_pylist() == clean


def test_a_worker_that_was_stopped_leaves_what_was_taken_from_it(
    folder: Path, url: str, clean: list[dict[str, Any]]
) -> None:
    """It stops with a batch on its way, which it sends when it goes on: the engine drops it."""
    stopped = Load(
        folder, url, machine="slow", signal=signal.SIGSTOP, before_insert=6, **QUICK
    ).start()
    stopped.wait_until_stopped()
    taker = Load(folder, url, machine="quick", **QUICK).start().end()
    assert taker.code == 0, taker
    stopped.signal(signal.SIGCONT)
    ended = stopped.end()
    assert ended.code == 0, ended
    assert ended.report is not None
    assert [one["by_others"] for one in ended.report["loads"]] == [False, *[True] * 3]
    with cliphouse.open(url) as table:
        assert table.sql(_CHECKSUM).to_pylist() == clean
        assert lines(table, "done") == {0: ["slow"]} | {n: ["quick"] for n in range(1, SHARDS)}
        assert table.check(folder / "s").findings == ()


def test_killed_at_random_on_many_machines(
    folder: Path, url: str, clean: list[dict[str, Any]]
) -> None:
    """Three at a time, each of which kills itself somewhere, and one that ends what there is."""
    chance = random.Random(8)
    for _ in range(examples(1, 6)):
        loads = [
            Load(
                folder,
                url,
                machine=f"m{number}",
                signal=signal.SIGKILL,
                before_insert=chance.randint(1, 8),
                **QUICK,
            )
            for number in range(3)
        ]
        for load in loads:
            load.start()
        for load in loads:
            load.end()
    last = Load(folder, url, machine="m9", **QUICK).start().end()
    assert last.code == 0, last
    with cliphouse.open(url) as table:
        assert table.sql(_CHECKSUM).to_pylist() == clean
        assert table.check(folder / "s").findings == ()


def test_an_error_gives_the_shard_back(tmp_path: Path, url: str) -> None:
    """Another machine has it at once, though the times are as they are."""
    bad = make_shard(tmp_path / "s", 0)
    bad.image[4] = np.nan
    np.save(tmp_path / "s" / "img_emb" / "img_emb_0.npy", bad.image)
    failed = Load(tmp_path, url, machine="one").start().end()
    assert failed.code == 2
    assert "img_emb_0.npy: row 4 holds NaN" in failed.said
    with cliphouse.open(url) as table:
        assert lines(table, "released") == {0: ["one"]}
        assert table.summary().loading == table.summary().unfinished == ()
    make_shard(tmp_path / "s", 0)
    second = Load(tmp_path, url, machine="two").start().end()
    assert second.code == 0
    assert "waiting" not in second.said


def test_a_worker_that_is_told_to_end_gives_its_shards_back(
    folder: Path, url: str, clean: list[dict[str, Any]]
) -> None:
    """As job schedulers do it, before they kill."""
    told = Load(folder, url, machine="one", signal=signal.SIGTERM, before_insert=6).start().end()
    assert told.code == 130
    assert told.said.endswith(
        "cliphouse: interrupted; the rows that were loaded are kept; run the same command again to "
        "continue\n"
    )
    second = Load(folder, url, machine="two").start().end()
    assert second.code == 0
    assert "waiting" not in second.said
    with cliphouse.open(url) as table:
        assert lines(table, "released") == {1: ["one"]}
        assert table.sql(_CHECKSUM).to_pylist() == clean


def test_info_and_check_tell_who_is_loading(folder: Path, url: str) -> None:
    with (
        Load(folder, url, machine="away/1f", signal=signal.SIGSTOP, before_insert=6) as load,
        cliphouse.open(url) as table,
    ):
        load.start().wait_until_stopped()
        summary = table.summary()
        (held,) = summary.loading
        assert (held.shard, held.host, held.process) == (1, "away", load.process)
        assert summary.unfinished == ()
        (found,) = table.check().findings
        assert (found.severity, found.where) == ("note", "shard 1")
        assert found.what.startswith(f"being loaded by away, process {load.process}, since")
        move_back(table, seconds=301)
        summary = table.summary()
        assert (summary.loading, summary.unfinished) == ((), (1,))
        assert [f.severity for f in table.check().findings] == ["error"]


def move_back(table: Table, seconds: int) -> None:
    """As if the ledger's lines had been written so much earlier."""
    table.sql("CREATE TABLE earlier AS laion_ledger")
    moved = f"SELECT * REPLACE (at - INTERVAL {seconds} SECOND AS at) FROM laion_ledger"
    table.sql(f"INSERT INTO earlier {moved}")
    table.sql("EXCHANGE TABLES earlier AND laion_ledger")
