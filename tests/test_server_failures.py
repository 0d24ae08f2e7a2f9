"""A server that fails while it is at work: nothing is lost or doubled, and every error is one line.

The server is the stand-in of tests/standin, which fails on order.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import cliphouse
from cliphouse.engine.features import Features, Setting
from cliphouse.engine.retry import RetryTimes
from cliphouse.errors import EngineError, TableError, UnreachableError
from cliphouse.loading.tokens import token_settings
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.table import Table
from forked import python
from hooked import small_batches
from shard_files import MadeShard, make_shard
from standin.process import StandIn
from standin.users import CARELESS

# The kinds of statements of a load; the first word or two, and the table.
_KINDS = re.compile(r"^\s*(\S+\s+\S+(?:\s+(?:IF NOT EXISTS )?`?\w+`?)?)")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeShard, ...]:
    folder = tmp_path_factory.mktemp("shards")
    return make_shard(folder, 0, rows=60), make_shard(folder, 1, rows=45)


# Small batches, and work that gives up after a second rather than after minutes.
SMALL = small_batches(25)
IN_HASTE = RetryTimes(long=1.0)
GONE = RetryTimes(short=0.1, long=0.1)  # for a server that does not come back meanwhile


def load(url: str, shards: tuple[MadeShard, ...], retry: RetryTimes = IN_HASTE) -> None:
    with cliphouse.open(url, retry=retry) as table:
        table.ingest(shards[0].folder, settings=SMALL)


def assert_loaded(url: str, shards: tuple[MadeShard, ...]) -> None:
    """Every row of the files is there once, with every value as the file has it."""
    with cliphouse.open(url) as table:
        rows = table.sql("SELECT * FROM laion ORDER BY id")
        assert table.check(shards[0].folder).findings == ()
    assert rows.column("id").to_pylist() == [int(i) for shard in shards for i in shard.ids]
    for name in ("url", "caption", "width", "height"):
        expected = [value for shard in shards for value in shard.metadata[name]]
        assert rows.column(name).to_pylist() == expected
    for name in ("image", "text"):
        stored = np.array(rows.column(f"{name}_embedding").to_pylist(), "f4")
        files = np.concatenate([getattr(shard, name) for shard in shards]).astype("f4")
        np.testing.assert_array_equal(stored, files)


@pytest.fixture(scope="module")
def kinds(stand_in: StandIn, shards: tuple[MadeShard, ...]) -> list[str]:
    """One pattern for each kind of statement that a load sends, in their order."""
    load(stand_in.fresh_url(), shards)
    firsts = {
        match[1]: None
        for query in stand_in.seen()
        if (match := _KINDS.match(query)) and "db" not in match[1]
    }
    return [r"^\s*" + re.escape(first) for first in firsts]


def test_a_load_whose_answers_are_lost_ends_as_a_clean_one(
    server: StandIn, shards: tuple[MadeShard, ...], kinds: list[str]
) -> None:
    """The nasty one, for each kind of statement: it was done, and nobody was told. Kinds that come
    one after another are lost in two loads, so that each is lost where the other is not."""
    assert len(kinds) > 8
    for lost in (kinds[::2], kinds[1::2]):
        url = server.fresh_url()
        for kind in lost:
            server.fail("lost", kind)
        for _ in lost:
            try:
                load(url, shards)
                break
            except EngineError as error:
                assert "\n" not in str(error), lost
        load(url, shards)
        assert server.waiting() == 0
        assert_loaded(url, shards)


@pytest.mark.parametrize("fault", ["close", "cut", "status"])
def test_a_load_survives_what_passes(
    server: StandIn, url: str, shards: tuple[MadeShard, ...], fault: str
) -> None:
    """Twice at an insert, once at the ledger, and once at a question."""
    server.fail(fault, r"INSERT INTO `?laion`? ", 2, skip=1)  # type: ignore[arg-type]
    server.fail(fault, "FROM `laion_ledger`")  # type: ignore[arg-type]
    server.fail(fault, "SELECT id FROM")  # type: ignore[arg-type]
    load(url, shards)
    assert server.waiting() == 0
    assert_loaded(url, shards)


def test_a_load_goes_on_when_the_server_is_back(
    server: StandIn,
    url: str,
    shards: tuple[MadeShard, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server goes down after the third insert and comes up while the load waits."""
    waits: list[int] = []

    def progress(done: int, total: int) -> None:
        if done >= 50 and not waits:
            waits.append(done)
            server.stop()
            threading.Timer(0.5, server.start).start()

    with cliphouse.open(url, retry=RetryTimes(long=60)) as table:
        table.ingest(shards[0].folder, progress=progress, settings=SMALL)
    assert waits
    assert "trying again for 60 seconds" in caplog.text
    assert "s3cret" not in caplog.text
    assert_loaded(url, shards)


def test_a_load_that_finds_no_server_says_what_to_do(
    server: StandIn, url: str, shards: tuple[MadeShard, ...]
) -> None:
    def stop(done: int, total: int) -> None:
        if 0 < done < total:
            server.stop()

    try:
        with (
            cliphouse.open(url, retry=GONE) as table,
            pytest.raises(UnreachableError, match=r"nothing listens there.*goes on where it stop"),
        ):
            table.ingest(shards[0].folder, progress=stop, settings=SMALL)
    finally:
        server.start()
    load(url, shards)
    assert_loaded(url, shards)


def test_a_server_that_crashes_in_a_load(tmp_path: Path, shards: tuple[MadeShard, ...]) -> None:
    """The process dies at an insert; a new one on the same data takes over."""
    with StandIn(tmp_path / "crashing") as crashing:
        url = crashing.url()
        crashing.fail("die", r"INSERT INTO `?laion`? ", skip=2)
        with pytest.raises(UnreachableError, match="goes on where it stopped"):
            load(url, shards, GONE)
        crashing.wait()
        crashing.launch()
        load(url, shards)
        assert_loaded(url, shards)


def test_tokens_hold_whatever_the_profile_says(
    server: StandIn, shards: tuple[MadeShard, ...]
) -> None:
    url = server.url(server.fresh(), CARELESS)
    for kind in ("INSERT INTO `laion`", "INSERT INTO `laion_ledger`"):
        server.fail("lost", kind)
    load(url, shards)
    assert_loaded(url, shards)
    with cliphouse.open(url) as table:
        asked = "SELECT count() AS n, uniqExact(shard) AS of FROM laion_ledger"
        claims = table.sql(f"{asked} WHERE state = 'claimed'").to_pylist()
        assert claims == [{"n": 2, "of": 2}]
        fixed = Setting("disable", is_free=False)
        table.connection.features = Features(settings={"deduplicate_insert": fixed})
        with pytest.raises(TableError, match="deduplicate_insert = disable, which may not be"):
            token_settings(table.connection)


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE", "ATTACH PARTITION", "DELETE FROM", "MODIFY COMMENT", "EXCHANGE", "DROP TABLE"],
)
def test_a_replacement_whose_answers_are_lost(
    server: StandIn, url: str, tmp_path: Path, statement: str
) -> None:
    """The table has the old rows or the new ones, and the same command again the new ones."""
    old = make_shard(tmp_path, rows=30)
    load(url, (old,))
    new = make_shard(tmp_path, rows=40, seed=5)
    server.fail("lost", statement)
    with cliphouse.open(url, retry=IN_HASTE) as table:
        try:
            table.ingest(tmp_path, replace=True)
        except EngineError:
            captions = table.sql("SELECT caption FROM laion ORDER BY id").column(0).to_pylist()
            assert captions in (old.metadata["caption"], new.metadata["caption"])
            table.ingest(tmp_path, replace=True)
    assert_loaded(url, (new,))


@pytest.fixture(scope="module")
def loaded(stand_in: StandIn, shards: tuple[MadeShard, ...]) -> str:
    """The address of a table that is there, which the tests that use it do not change."""
    url = stand_in.fresh_url()
    load(url, shards)
    return url


@pytest.fixture
def table(server: StandIn, loaded: str) -> Iterator[Table]:
    with cliphouse.open(loaded) as opened:
        _ = opened.info
        yield opened


@pytest.mark.parametrize("fault", ["close", "lost", "cut", "status", "exception"])
def test_questions_are_asked_again(server: StandIn, loaded: str, table: Table, fault: str) -> None:
    """Each kind of question fails once, and is answered."""
    with cliphouse.open(loaded) as another:
        before = another.search("id:7", k=5)
    for match in ("query_distance", "system.parts", "system.tables", "uniqExact", "laion_ledger"):
        server.fail(fault, match, text="Code: 210. DB::Exception: gone. (NETWORK_ERROR)")  # type: ignore[arg-type]
    assert table.search("id:7", k=5).hits == before.hits
    assert table.summary().rows == 105
    assert table.check().is_good
    assert table.sql("SELECT count() AS n FROM laion").to_pylist() == [{"n": 105}]
    assert server.waiting() == 0


@pytest.mark.parametrize("fault", ["close", "cut", "status"])
def test_questions_that_stay_unanswered_are_one_line(
    server: StandIn, loaded: str, tmp_path: Path, fault: str
) -> None:
    questions: tuple[Callable[[Table], object], ...] = (
        lambda table: table.search("id:7"),
        lambda table: table.summary(),
        lambda table: table.check(),
        lambda table: table.recall(queries=5),
        lambda table: table.index(IndexSpec()),
        lambda table: table.sql("SELECT 1"),
        lambda table: table.export(tmp_path / "out.jsonl", "jsonl"),
        lambda table: table.items([1]),
    )
    for ask in questions:
        server.clear()
        with cliphouse.open(loaded, retry=GONE) as table:
            assert table.connection.retry_seconds == 0.1
            server.fail(fault, "", times=10_000)  # type: ignore[arg-type]
            with pytest.raises(UnreachableError, match=r"^http://127.0.0.1:\d+/db\d+: ") as caught:
                ask(table)
            assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_silent_server_is_given_up(server: StandIn, loaded: str) -> None:
    server.fail("hang", "SELECT 41", times=99)
    with cliphouse.open(f"{loaded}?send_receive_timeout=1", retry=RetryTimes(short=0)) as table:
        _ = table.info
        with pytest.raises(UnreachableError, match="has not answered in time"):
            table.connection.rows("SELECT 41 AS x")


@pytest.mark.parametrize("fault", ["cut", "exception"])
def test_an_export_that_breaks_off_leaves_nothing(
    server: StandIn, table: Table, tmp_path: Path, fault: str
) -> None:
    server.fail(fault, "ORDER BY id", text="Code: 241. DB::Exception: Memory limit. (MEMORY)")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=r"broke off|Memory limit"):
        table.export(tmp_path / "out.jsonl", "jsonl")
    assert not list(tmp_path.iterdir())
    table.export(tmp_path / "out.jsonl", "jsonl")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 105


def test_statements_of_users_are_not_run_twice(server: StandIn, table: Table) -> None:
    """Nobody knows whether it was done; doing it again could be wrong."""
    table.sql("CREATE TABLE IF NOT EXISTS counted (n UInt8) ENGINE = MergeTree ORDER BY n")
    server.fail("lost", "INSERT INTO counted")
    with pytest.raises(UnreachableError, match="broke off"):
        table.sql("INSERT INTO counted VALUES (1)")
    assert table.sql("SELECT count() AS n FROM counted").to_pylist() == [{"n": 1}]


def test_an_index_is_built_after_all(
    server: StandIn, shards: tuple[MadeShard, ...], url: str
) -> None:
    """Its statements lose their answers, and the same call ends with a whole index."""
    load(url, shards)
    for match in ("OPTIMIZE", "ADD INDEX", "MATERIALIZE INDEX"):
        server.fail("lost", match)
    with cliphouse.open(url) as table:
        for _ in range(3):
            try:
                table.index(IndexSpec(m=8))
                break
            except UnreachableError:
                continue
        found = table.search("id:7", k=5, mode="hnsw", ef=256)
        assert {hit.id for hit in found} == {
            hit.id for hit in table.search("id:7", 5, mode="exact")
        }


def test_the_command_line_says_it_in_one_line(server: StandIn, loaded: str, tmp_path: Path) -> None:
    server.fail("close", "", times=10_000)
    for arguments in (("search", "id:1"), ("info",), ("sql", "SELECT 1")):
        result = subprocess.run(
            [*python(), "-m", "cliphouse", *arguments, "--db", loaded],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert "broke off before the answer" in result.stderr
        assert "s3cret" not in result.stderr + result.stdout
