"""cliphouse serve as a process, and the other commands on a database that it holds."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from typer.testing import CliRunner, Result

from cliphouse.cli.app import app
from cliphouse.cli.serve import addresses_for_others
from cliphouse.engine.lockfile import lock_file, read_lock_file
from cliphouse.errors import MissingError, QueryError, UserError
from conftest import Run
from forked import python
from serving import Drawn

KEY = "a-key-for-the-tests-only"


@dataclass(frozen=True)
class Command:
    process: subprocess.Popen[str]
    address: str


@contextmanager
def serve(folder: Path, *options: object) -> Iterator[Command]:
    """The command, from its line on standard output to its end."""
    process = subprocess.Popen(
        [*python(), "-m", "cliphouse", "serve", "--port", "0", *map(str, options)],
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        match = re.fullmatch(r"cliphouse serves .* at (http://\S+:\d+)\n", line)
        assert match, (line, process.stderr and process.stderr.read())
        yield Command(process, match[1])
    finally:
        process.terminate()
        process.communicate(timeout=60)


def listener(address: str) -> int:
    """The process that listens there."""
    port = int(address.rpartition(":")[2])
    (process,) = {
        c.pid for c in psutil.net_connections("tcp") if c.laddr[1] == port and not c.raddr
    }
    return int(process or 0)


def without_times(found: dict[str, object]) -> dict[str, object]:
    stats = dict(found["search"])  # type: ignore[call-overload]
    for name in ("encode_ms", "search_ms", "rows_read"):
        stats.pop(name)
    return found | {"search": stats}


def ask(*arguments: object) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_search_and_info_go_through_the_service(
    drawn: Drawn, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "vector.npy", drawn.text[4])
    (tmp_path / "asked.txt").write_text("id:3\na red circle\n")
    picture = drawn.pictures / "picture_00007.jpg"
    questions: list[list[object]] = [
        ["search", "a red circle", "-k", 5, "--json"],
        ["search", picture, "--add", "2:id:4", "--subtract", "a star", "--json"],
        ["search", "vector.npy", "--modality", "text", "--dedup", "0.9", "--offset", 2, "--json"],
        ["search", "--queries", "asked.txt", "--format", "csv"],
    ]
    db = ["--db", drawn.db]
    alone = [ask(*question, *db) for question in questions]
    known = json.loads(ask("info", "--json", *db, "--table", "second").stdout)
    with serve(drawn.folder, *db, "--table", "laion", "--table", "second") as service:
        server = ["--server", service.address]
        for question, expected in zip(questions, alone, strict=True):
            found = ask(*question, *server)
            assert found.exit_code == 0, found
            if "--json" not in question:
                assert found.stdout == expected.stdout
                continue
            told, here = json.loads(found.stdout), json.loads(expected.stdout)
            assert without_times(told) == without_times(here)
        told = json.loads(ask("info", "--json", "--table", "second", *server).stdout)
        assert told == known | {"database": service.address}
        assert "60 in" in run("info", *server).stdout
        for arguments, kind, line in (
            (["x", "--where", "1"], QueryError, "a service takes no SQL"),
            (["x", "--show-sql"], QueryError, "does not allow --show-sql"),
            (["id:99"], QueryError, "table laion has no such row"),
            (["x", "--table", "third"], MissingError, "no table 'third'"),
            ([str(tmp_path / "none.jpg")], QueryError, "no such file"),
        ):
            result = ask("search", *arguments, *server)
            assert type(result.exception) is kind, result
            assert line in str(result.exception)
    gone = run("search", "x", *server)
    assert gone.returncode == 1
    assert "cannot be reached" in gone.stderr


def test_a_held_database_says_who_holds_it(drawn: Drawn, run: Run) -> None:
    with serve(drawn.folder, "--db", drawn.db) as service:
        for arguments in (["backup", "all.zip"], ["serve", "--port", 0]):
            result = run(*arguments, "--db", drawn.db, "--wait", 0)
            assert (result.returncode, result.stdout) == (2, "")
            assert f"served at {service.address}" in result.stderr
            assert f"--server {service.address}" in result.stderr
            assert f"process {listener(service.address)};" in result.stderr
    assert run("info", "--db", drawn.db).returncode == 0
    assert sorted(path.name for path in drawn.folder.iterdir()) == [
        "laion.chdb",
        "pictures",
        "shards",
    ]


def test_the_lock_file_of_an_ended_service_is_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "laion.chdb"
    with lock_file(folder, "http://127.0.0.1:1"):
        (path,) = tmp_path.iterdir()
        values = json.loads(path.read_text())
        found = read_lock_file(folder)
        assert found is not None
        assert (found.address, found.pid) == ("http://127.0.0.1:1", os.getpid())
    assert read_lock_file(folder) is None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for text in (json.dumps(values | {"pid": ended.pid}), "", "[]", "{", json.dumps({"pid": "x"})):
        path.write_text(text)
        assert read_lock_file(folder) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(drawn: Drawn, number: signal.Signals) -> None:
    with serve(drawn.folder, "--db", drawn.db) as service:
        assert httpx.get(f"{service.address}/health").json() == {"status": "ready"}
        service.process.send_signal(number)
        _, log = service.process.communicate(timeout=60)
        assert service.process.returncode == 0
        assert "Traceback" not in log
        assert "GET '/health' 200" in log


def test_a_service_with_a_key(drawn: Drawn, run: Run) -> None:
    options = ("--db", drawn.db, "--host", "0.0.0.0", "--api-key", KEY, "--rate", "50/minute")
    with serve(drawn.folder, *options) as service:
        address = service.address.replace("0.0.0.0", "127.0.0.1")
        refused = run("info", "--server", address)
        assert refused.returncode == 2
        assert "--api-key or CLIPHOUSE_API_KEY" in refused.stderr
        assert run("info", "--server", address, "--api-key", KEY).returncode == 0
        found = run("search", "id:3", "--json", "--server", address, CLIPHOUSE_API_KEY=KEY)
        assert json.loads(found.stdout)["hits"][0]["id"] == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "--insecure to let anyone search"),
        (["--host", "::"], "--insecure to let anyone search"),
        (["--host", "example.org"], "--insecure to let anyone search"),
        (["--api-key", "short"], "it needs 16"),
        (["--api-key-file", "keys"], "keys, line 1: no SHA-256 hash"),
        (["--rate", "often"], "as in 120/minute"),
        (["--pictures", "nowhere"], "nowhere: no such folder"),
        (["--port", "TAKEN"], "cannot listen there"),
        (["--table", "a b"], "is not a table name"),
        (["--db", "nothing"], "no database here"),
    ],
)
def test_what_it_will_not_start_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").write_text("not a hash\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = ask("serve", "--port", 0, *(port if a == "TAKEN" else a for a in arguments))
    assert isinstance(result.exception, UserError)
    assert told in str(result.exception)
    # A log that outlived the command would write into whatever standard error was then.
    assert logging.getLogger("cliphouse.server").handlers == []


def test_a_table_that_is_not_there_is_told_at_the_start(drawn: Drawn, run: Run) -> None:
    result = run("serve", "--db", drawn.db, "--port", 0, "--table", "laion", "--table", "third")
    assert (result.returncode, result.stdout) == (2, "")
    assert "no table third" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_python_of_its_page_runs(drawn: Drawn) -> None:
    page = (Path(__file__).parents[1] / "docs" / "serve.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with serve(drawn.folder, "--db", drawn.db) as service:
        # First the id, as the port may have a 42 in it too.
        asked = program.replace("42", "12").replace("http://127.0.0.1:1234", service.address)
        result = subprocess.run(
            [*python(), "-c", asked], capture_output=True, text=True, check=True
        )
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert all(str(drawn.pictures) in line for line in lines)


def test_other_devices_are_told_an_address_that_they_can_use() -> None:
    told = addresses_for_others("0.0.0.0", "http://0.0.0.0:1234").split()
    assert told == [address for address in told if re.fullmatch(r"http://[\d.]+:1234", address)]
    for address in told:
        with socket.socket() as here:
            here.bind((address.split("/")[2].partition(":")[0], 0))  # it is this machine's own
    assert addresses_for_others("127.0.0.1", "http://127.0.0.1:1234") == ""
