"""The owner's way into a service: who finds it, who is let in, and what an ended one leaves."""

from __future__ import annotations

import json
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

import cliphouse
from cliphouse.engine.door import Door, door_file, read_door
from cliphouse.errors import ServiceError, TableError
from serving import Drawn
from test_serve_cli import ask, serve
from test_waiting import command, held


def _rows(db: Path) -> int:
    return int(json.loads(ask("info", "--json", "--db", db).stdout)["rows"])


def test_other_machines_cannot_reach_it_and_no_log_has_the_token(drawn: Drawn) -> None:
    with serve(drawn.folder, "--db", drawn.db, "--host", "0.0.0.0", "--insecure") as service:
        door = read_door(drawn.db)
        assert door is not None
        assert _rows(drawn.db) == 60
        with pytest.raises(OSError):
            socket.create_connection((_outward_address(), door.port), timeout=5)
        port = service.address.rpartition(":")[2]
        good = {"Authorization": f"Bearer {door.token}"}
        answer = httpx.get(f"http://{_outward_address()}:{port}/sessions/1-x", headers=good)
        assert answer.status_code == 404
        service.process.terminate()
        printed, log = service.process.communicate(timeout=60)
    assert "/sessions/1-x" in log
    assert door.token not in printed + log


def _outward_address() -> str:
    """An address of this machine that is not loopback's 127.0.0.1."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family is socket.AF_INET and address.address != "127.0.0.1":
                return str(address.address)
    return "127.0.0.2"


def test_what_an_ended_service_has_left_is_ignored(drawn: Drawn, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as refusing:
        port = refusing.getsockname()[1]
    left = Door.make(port, "http://127.0.0.1:1")
    with door_file(drawn.db, left):
        assert _rows(drawn.db) == 60  # nobody has it
        with held(drawn.db), pytest.raises(TableError, match="in use by"):
            _ = cliphouse.open(drawn.db, wait=0).info
    with door_file(drawn.db, replace(left, pid=4194304)):
        assert read_door(drawn.db) is None
    (path,) = (tmp_path / ".laion.chdb.door",)
    for text in ("", "[]", "{", json.dumps({"port": "x"})):
        path.write_text(text)
        path.chmod(0o600)
        assert read_door(tmp_path / "laion.chdb") is None
    path.unlink()
    path.symlink_to(drawn.folder / "elsewhere")
    assert read_door(tmp_path / "laion.chdb") is None


_LONG = "SELECT sum(cityHash64(number, 'never ends')) FROM numbers(1000000000000)"
_RUNNING = "SELECT count() AS n FROM system.processes WHERE query LIKE '%never en' || 'ds%'"


def _wait_until(table: cliphouse.Table, running: int) -> None:
    for _ in range(600):
        if table.sql(_RUNNING).column("n").to_pylist() == [running]:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"not {running} statements run")


def test_statements_end_with_their_caller_and_with_the_service(drawn: Drawn) -> None:
    with serve(drawn.folder, "--db", drawn.db) as service, cliphouse.open(drawn.db) as table:
        assert table.info.dim == 512
        for number in (signal.SIGINT, signal.SIGKILL):
            asking = command("sql", _LONG, db=drawn.db)
            _wait_until(table, 1)
            asking.send_signal(number)
            asking.communicate(timeout=60)
            assert asking.returncode in (130, -signal.SIGKILL, 128 + signal.SIGKILL)
            _wait_until(table, 0)
        service.process.kill()
        service.process.communicate(timeout=60)
        _end(drawn)
        with pytest.raises(ServiceError, match=rf"the service at {service.address} \(pid \d+\)"):
            table.summary()
    with cliphouse.open(drawn.db) as table:
        assert table.summary().rows == 60


def _end(drawn: Drawn) -> None:
    """Wait for the end of the service's process, and remove what it could not."""
    for path in drawn.folder.glob(".laion.chdb.*"):
        values = json.loads(path.read_text())
        if psutil.pid_exists(values["pid"]):
            psutil.wait_procs([psutil.Process(values["pid"])], timeout=30)
        path.unlink()
