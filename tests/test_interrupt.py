"""Ctrl-C ends every command within a second, whatever the engine does, and says what is kept."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import tally
from cliphouse.pictures.drawn import write_pictures
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.table import Table
from conftest import Run
from forked import python
from shard_files import make_shard
from standin.process import StandIn

# Statements that match the first argument take minutes, in the engine itself: no handler of
# Python's is called meanwhile. "working" is printed when the first of them begins.
_SLOWED = """
import re, sys
import chdb.state.sqlitelike as driver
from cliphouse.cli.app import main

match = sys.argv.pop(1)

def slowed(method):
    def run(self, sql, *given, **named):
        text = sql.decode() if isinstance(sql, bytes) else sql
        if re.search(match, text):
            print("working", flush=True)
            sql = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000) FORMAT TSV"
        return method(self, sql, *given, **named)
    return run

for name in ("query", "send_query"):
    setattr(driver.Connection, name, slowed(getattr(driver.Connection, name)))
main()
"""
_SLOW = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"
_AT_MOST = 5.0  # seconds, on a machine that does much else; the statements would take minutes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, a database of them with an index, its backup, and pictures."""
    folder = tmp_path_factory.mktemp("world")
    make_shard(folder / "s", 0, 300, 16)
    make_shard(folder / "more", 1, 300, 16)
    write_pictures(folder / "p", 3, seed=1)
    with Table(folder / "laion.chdb") as table:
        table.ingest(folder / "s")
        table.index(IndexSpec(m=4))
    subprocess.run([*python(), "-m", "cliphouse", "backup", "b.zip"], cwd=folder, check=True)
    return folder


@dataclass(frozen=True)
class Ended:
    """How a command has ended after Ctrl-C."""

    code: int
    said: str
    seconds: float


def interrupt(command: list[str], folder: Path) -> Ended:
    """Run a command of Python until it says that it works, and press Ctrl-C."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) != "working\n":
        assert line, process.communicate()[1]
    process.send_signal(signal.SIGINT)
    tally.count("interrupts")
    began = time.monotonic()
    said = process.communicate(timeout=60)[1]
    return Ended(process.returncode, said, time.monotonic() - began)


@pytest.mark.parametrize(
    ("words", "slow", "kept"),
    [
        ("search id:3 -o found.json", "query_distance", "nothing was changed"),
        ("info", "bytes_on_disk", "nothing was changed"),
        ("recall --queries 30 --save", "^SELECT id, CAST", "nothing was saved"),
        ("check s", "bitShiftRight", "nothing was changed"),
        ("duplicates", "file_hash|image_embedding", "nothing was changed"),
        ("export out.jsonl", "^SELECT.*caption.* FROM", "export them again"),
        ("backup c.zip", "^BACKUP", "there is no backup"),
        ("restore b.zip --db new.chdb", "^RESTORE", "nothing was restored"),
        ("drop --yes", "^DROP", "may be dropped in part"),
        ("ingest more", "^INSERT INTO `?laion`? ", "the rows that were loaded are kept"),
        ("sync p --model tiny --table own", "^INSERT INTO `?own`? ", "what is finished is kept"),
        ("index text --no-measure", "^OPTIMIZE", "what is finished is kept"),
        ("index captions", "MATERIALIZE INDEX", "what is finished is kept"),
        ("demo --rows 100", "^INSERT INTO `?laion`? ", "what is finished is kept"),
        ("sql SELECT/**/hostName()", "^SELECT.{4,6}hostName", "nothing was changed"),
        ("sql OPTIMIZE/**/TABLE/**/laion", "OPTIMIZE", "the statement may have changed data"),
    ],
)
def test_ctrl_c_ends_it(
    world: Path, tmp_path: Path, run: Run, words: str, slow: str, kept: str
) -> None:
    shutil.copytree(world, tmp_path, symlinks=True, dirs_exist_ok=True)
    command = words.split()
    ended = interrupt([*python(), "-c", _SLOWED, slow, *command], tmp_path)
    assert ended.code == 130, ended.said
    last = ended.said.splitlines()[-1]
    assert last.startswith("cliphouse: interrupted; ")
    assert kept in last
    assert "Traceback" not in ended.said
    assert ended.seconds < _AT_MOST
    if command[0] in ("ingest", "drop", "export"):  # the others have changed nothing
        again = run(*command)
        assert again.returncode == 0, again.stderr
    assert not list(tmp_path.rglob("*.part"))
    if command[0] == "export":
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 300
    if command[0] == "ingest":
        assert "rows 600 in" in " ".join(run("info").stdout.split())


def test_while_it_is_imported(tmp_path: Path) -> None:
    """The first third of a second, in which nothing knows yet what the command is."""
    script = """
import sys, time

class Slow:
    def find_spec(self, name, *_):
        if name == "cliphouse.cli.app":
            print("working", flush=True)
            time.sleep(600)

sys.meta_path.insert(0, Slow())
from cliphouse.cli import main
main()
"""
    ended = interrupt([sys.executable, "-c", script, "info"], tmp_path)
    assert (ended.code, ended.said) == (130, "cliphouse: interrupted; nothing was changed\n")
    assert ended.seconds < _AT_MOST


@pytest.mark.parametrize(
    ("words", "statement", "kept"),
    [
        ("sql SELECT/**/hostName()", "^SELECT.*hostName", "nothing was changed"),
        ("udf install --config c --scripts s --model tiny", "^SYSTEM RELOAD", "some files may be"),
    ],
)
def test_a_server_is_told_to_end_the_statement(
    server: StandIn, tmp_path: Path, words: str, statement: str, kept: str
) -> None:
    url = server.fresh_url()
    server.fail("hang", statement)
    (tmp_path / "c").mkdir()
    (tmp_path / "s").mkdir()
    process = subprocess.Popen(
        [*python(), "-m", "cliphouse", *words.split(), "--db", url],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not server.seen(statement.removeprefix("^").split(".*")[-1]):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=_AT_MOST)[1].splitlines()[-1]
    assert process.returncode == 130
    assert said.startswith(f"cliphouse: interrupted; {kept}")
    assert server.seen("KILL QUERY WHERE query_id")


def test_a_hub_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hub:
        address = f"http://127.0.0.1:{hub.getsockname()[1]}"
        process = subprocess.Popen(  # of its own: the hub's library reads these as it is imported
            [sys.executable, "-m", "cliphouse", "models", "fetch", "ViT-B/32", "--to", "m"],
            cwd=tmp_path,
            env=os.environ | {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"},
            stderr=subprocess.PIPE,
            text=True,
        )
        hub.settimeout(60)
        asked, _ = hub.accept()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=_AT_MOST)[1]
        asked.close()
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("cliphouse: interrupted; what has arrived is kept")


def test_at_the_prompt_ctrl_c_ends_the_statement_alone(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "laion.chdb", tmp_path / "laion.chdb", symlinks=True)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*python(), "-c", _SLOWED, "^SELECT hostName", "sql"],
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm", "XDG_STATE_HOME": str(tmp_path / "state")},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    assert process.stdout is not None
    for _ in range(2):
        os.write(ours, b"SELECT hostName();\r")
        while process.stdout.readline() != "working\n":
            pass
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        os.write(ours, b"SELECT 40 + 2 AS answer;\r")
        while "42" not in process.stdout.readline():
            pass
        assert time.monotonic() - began < _AT_MOST
    os.write(ours, b"exit\r")
    told = process.communicate(timeout=60)[1]
    os.close(ours)
    assert process.returncode == 0, told
    assert told.count("interrupted; nothing was changed") == 2


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_service_ends_with_what_it_does(world: Path, tmp_path: Path, is_busy: bool) -> None:
    shutil.copytree(world / "laion.chdb", tmp_path / "laion.chdb", symlinks=True)
    process = subprocess.Popen(
        [*python(), "-c", _SLOWED, "query_distance", "serve", "--port", "0"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=address, timeout=60) as service:
        if is_busy:
            pool.submit(service.post, "/api/search", json={"id": 3, "mode": "exact"})
            assert process.stdout.readline() == "working\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        log = process.communicate(timeout=60)[1]
        assert time.monotonic() - began < _AT_MOST
    assert process.returncode == 0, log
    assert "Traceback" not in log
