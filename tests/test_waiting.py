"""Two processes and one embedded database: the second waits for the first."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cliphouse
from cliphouse.engine.occupant import Patience, describe_occupant, turn
from cliphouse.errors import TableError
from cliphouse.pictures.drawn import write_pictures
from cliphouse.shards.one_writer import one_writer
from conftest import Run
from forked import python
from serving import Drawn

_HOLD = (
    "import os, sys, cliphouse; t = cliphouse.open(sys.argv[1]); t.info; "
    "print(os.getpid(), flush=True); sys.stdin.read()"
)


@contextmanager
def held(db: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the database open, until its standard input ends."""
    holder = subprocess.Popen(
        [*python(), "-c", _HOLD, str(db)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert int(holder.stdout.readline())
    try:
        yield holder
    finally:
        let_go(holder)


def let_go(holder: subprocess.Popen[str]) -> None:
    """Have it close the database, and wait for its end."""
    assert holder.stdin is not None
    holder.stdin.close()
    holder.wait(60)


def command(*arguments: object, db: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*python(), "-m", "cliphouse", *map(str, arguments), "--db", str(db)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
    )


def test_a_command_waits_and_says_for_whom(drawn: Drawn, run: Run) -> None:
    question = ("search", "id:3", "--format", "csv")
    alone = run(*question, "--db", drawn.db).stdout
    with held(drawn.db) as holder:
        waiting = command(*question, "--wait", 60, db=drawn.db)
        assert waiting.stderr is not None
        line = waiting.stderr.readline()
        assert re.fullmatch(r"waiting for the database, held by \S.* \(pid \d+\)\n", line), line
        let_go(holder)
        found, errors = waiting.communicate(timeout=60)
    assert (waiting.returncode, found, errors) == (0, alone, "")


def test_without_patience_it_ends_at_once(drawn: Drawn, run: Run) -> None:
    with held(drawn.db):
        found = run("info", "--wait", 0, "--db", drawn.db)
        assert (found.returncode, found.stdout) == (2, "")
        assert re.search(r"laion\.chdb: in use by .*\(pid \d+\), and one process", found.stderr)
        assert len(found.stderr.splitlines()) == 1
        assert "Wait longer for its end (--wait SECONDS), or stop it" in found.stderr
        with pytest.raises(TableError, match="in use by"):
            _ = cliphouse.open(drawn.db, wait=0).info


def test_sync_and_embed_wait_as_long_as_is_said(tmp_path: Path, run: Run) -> None:
    write_pictures(tmp_path / "pictures", 1, seed=1)
    refused = "s: export on .*, is at work there; try .*, or wait longer for it with --wait SECONDS"
    with one_writer(tmp_path / "s", "export"):
        for name in ("sync", "embed"):
            asked = (name, "pictures", "--to", "s", "--model", "tiny")
            started = time.monotonic()
            found = run(*asked, "--wait", 0.3)
            assert 0.3 <= time.monotonic() - started < 5
            assert (found.returncode, found.stdout) == (2, "")
            waiting, said = found.stderr.splitlines()
            assert waiting.startswith("waiting for export on ")
            assert re.search(refused, said)
            assert len(run(*asked, "--wait", 0).stderr.splitlines()) == 1
    assert not (tmp_path / "laion.chdb").exists()


def test_nan_is_no_number_of_seconds(run: Run) -> None:
    for name in ("info", "sync"):
        found = run(name, "--wait", "nan")
        assert found.returncode == 2
        assert "'--wait': nan is no number of seconds" in found.stderr


def test_a_program_waits_too(drawn: Drawn) -> None:
    told: list[str] = []
    with held(drawn.db) as holder:

        def tell(who: str) -> None:
            told.append(who)
            threading.Thread(target=let_go, args=(holder,)).start()

        with cliphouse.open(drawn.db, wait=Patience(60, tell)) as table:
            assert table.info.dim == 512
    assert len(told) == 1
    assert "(pid " in told[0]


def test_those_who_look_do_not_keep_each_other_out(drawn: Drawn) -> None:
    """Looking at the engine's lock holds it for a moment, in which nobody else can open it."""
    commands = [command("search", f"id:{n}", "--format", "csv", db=drawn.db) for n in range(2)]
    for number, started in enumerate(commands):
        found, errors = started.communicate(timeout=60)
        assert started.returncode == 0, errors
        assert found.splitlines()[1].startswith(f"{number},")


def test_who_is_about_to_open_it_has_the_turn(drawn: Drawn) -> None:
    with turn(drawn.db) as mine, turn(drawn.db) as other:
        assert (mine, other) == (True, False)
    with turn(drawn.db) as mine:
        assert mine


def test_nobody_known_is_another_process(tmp_path: Path) -> None:
    assert describe_occupant(tmp_path) == "another process"
    (tmp_path / "status").write_text("PID: 4194304\nStarted at: ...\n")
    assert describe_occupant(tmp_path) == "a process (pid 4194304)"
