"""Connecting to a server: TLS for real, wrong addresses, and passwords that nobody sees."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme

import cliphouse
from cliphouse.engine.connection import Connection
from cliphouse.errors import QueryError, TableError, UnreachableError
from cliphouse.server.settings import ServeSettings
from conftest import Run
from forked import python
from shard_files import make_shard
from standin.process import StandIn
from standin.users import OWNER, READER, User

# What the password of this server's owner looks like where it is shown, in any form.
_SECRETS = ("s3cret", "czNjcmV0")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates of two CAs, own.pem and other.pem, and a server's by the
    first."""
    folder = tmp_path_factory.mktemp("ca")
    own = trustme.CA()
    own.cert_pem.write_to_path(str(folder / "own.pem"))
    trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
    made = own.issue_cert("127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    return folder


@pytest.fixture(scope="module")
def secure(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    folder = tmp_path_factory.mktemp("secure")
    with StandIn(folder, cert=authority / "server.pem") as started:
        yield started


def answer(url: str) -> object:
    with cliphouse.open(url) as table:
        return table.sql("SELECT 42 AS x").to_pylist()[0]["x"]


def refusal(url: str, kind: type[Exception] = UnreachableError) -> str:
    """The one line with which an address is refused."""
    with pytest.raises(kind) as caught:
        answer(url)
    told = str(caught.value)
    assert "\n" not in told
    assert not any(secret in told for secret in _SECRETS)
    return told


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_ca_of_ones_own_is_trusted_when_named(
    secure: StandIn, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = secure.url()
    assert "its certificate does not verify" in refusal(url)
    assert "CLIPHOUSE_CA_CERT" in refusal(url)
    assert answer(f"{url}?ca_cert={authority / 'own.pem'}") == 42
    assert "does not verify" in refusal(f"{url}?ca_cert={authority / 'other.pem'}")
    monkeypatch.setenv("CLIPHOUSE_CA_CERT", str(authority / "own.pem"))
    assert answer(url) == 42
    monkeypatch.setenv("CLIPHOUSE_CA_CERT", str(authority / "other.pem"))
    assert "does not verify" in refusal(url)
    assert answer(f"{url}?verify=false") == 42


def test_a_certificate_is_for_one_name(secure: StandIn, authority: Path) -> None:
    other = secure.url(host="localhost") + f"?ca_cert={authority / 'own.pem'}"
    assert "not valid for 'localhost'" in refusal(other)
    assert answer(f"{other}&server_host_name=127.0.0.1") == 42


def test_http_and_https_are_told_apart(server: StandIn, secure: StandIn) -> None:
    assert "is it http:// rather than https://" in refusal(server.url(scheme="https"))
    assert "a TLS port needs https://" in refusal(secure.url(scheme="http"))


def test_what_is_not_there_is_told(server: StandIn) -> None:
    assert "the name nowhere.invalid cannot be resolved" in refusal(
        server.url(host="nowhere.invalid")
    )
    server.stop()
    try:
        assert f"is {server.port} its HTTP port" in refusal(server.url())
    finally:
        server.start()
    missing = refusal(server.url("missing"), TableError)
    assert "no database missing; make it with CREATE DATABASE missing" in missing


@pytest.mark.parametrize("user", [User("someone", "s3cretX"), User("nobody", "s3cret"), None])
def test_a_wrong_name_or_password_is_told(server: StandIn, user: User | None) -> None:
    told = refusal(server.url(user=user), TableError)
    assert f"does not let user {user.name if user else 'default'} in" in told
    assert "CLIPHOUSE_PASSWORD" in told


def test_the_environment_lets_in(server: StandIn, run: Run, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(READER.password + "\n")
    url = server.url(user=None)
    result = run(
        *("sql", "SELECT 42 AS x", "--json", "--db", url),
        CLIPHOUSE_USER=READER.name,
        CLIPHOUSE_PASSWORD_FILE=str(tmp_path / "password"),
    )
    assert json.loads(result.stdout) == [{"x": 42}]


class _Impostor(BaseHTTPRequestHandler):
    """A web server that is no ClickHouse, and repeats what it was sent."""

    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        said = f"<html>{self.headers['Authorization']} {self.path}</html>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("status", [200, 404, 500])
def test_something_else_that_answers_is_told(status: int) -> None:
    handler = type("Handler", (_Impostor,), {"status": status})
    with HTTPServer(("127.0.0.1", 0), handler) as impostor:
        Thread(target=impostor.serve_forever, args=(0.02,), daemon=True).start()
        told = refusal(f"http://someone:s3cret@127.0.0.1:{impostor.server_port}/db")
        impostor.shutdown()
    assert "not ClickHouse" in told or f"HTTP status {status}" in told


def test_a_server_that_repeats_the_password_is_not_repeated(server: StandIn) -> None:
    echoed = f"Code: 62. DB::Exception: near '{OWNER.password}'. (SYNTAX_ERROR)"
    server.fail("error", "SELECT 42", text=echoed)
    with (
        cliphouse.open(server.url()) as table,
        pytest.raises(QueryError, match=r"near '\*\*\*'") as caught,
    ):
        table.sql("SELECT 42 AS x")
    printed = "".join(traceback.format_exception(caught.value))
    assert OWNER.password not in printed


def test_nothing_that_is_printed_has_the_password(
    server: StandIn, run: Run, tmp_path: Path
) -> None:
    url = server.fresh_url()
    with cliphouse.open(url) as table:
        shown = [repr(table.address), repr(table), repr(ServeSettings(db=url))]
        assert not any(secret in text for text in shown for secret in _SECRETS)
    make_shard(tmp_path / "shards")
    for arguments in (
        ("info",),
        ("ingest", "shards"),
        ("info", "--json"),
        ("search", "id:1", "--show-sql"),
        ("sql", "SELEC 1"),
    ):
        result = run(*arguments, "--db", url, CLIPHOUSE_DEBUG="1")
        told = result.stdout + result.stderr
        assert told
        assert not any(secret in told for secret in _SECRETS), told


def test_the_driver_prints_nothing_of_its_own(tmp_path: Path) -> None:
    """In a program that sets up no logging; one that does sees the driver's log."""
    code = """
import logging, sys, cliphouse
if len(sys.argv) > 1:
    logging.basicConfig(format="%(name)s")
try:
    cliphouse.open("http://127.0.0.1:1/db").connection
except cliphouse.CliphouseError as error:
    print(error)
print(logging.getLogger("clickhouse_connect").handlers)
"""
    command = [sys.executable, "-c", code]
    quiet = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "nothing listens there" in quiet.stdout
    assert quiet.stdout.endswith("\n[]\n")
    assert quiet.stderr == ""
    logged = subprocess.run([*command, "logging"], capture_output=True, text=True, check=True)
    assert logged.stdout == quiet.stdout
    assert "clickhouse_connect" in logged.stderr


def test_ps_shows_no_password(server: StandIn, tmp_path: Path) -> None:
    """While a statement hangs, the process is looked at as others see it."""
    server.fail("hang", "SELECT 43")
    command = [sys.executable, "-m", "cliphouse", "sql", "SELECT 43", "--db", server.url()]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not server.seen("SELECT 43"):
            assert process.poll() is None
        seen = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
    finally:
        process.kill()
        process.wait()
    assert "s3cret" not in seen
    assert f"someone:***@127.0.0.1:{server.port}" in seen


def test_the_prompts_history_keeps_no_password(server: StandIn, tmp_path: Path) -> None:
    """Typed at a terminal, as people do."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*python(), "-m", "cliphouse", "sql", "--db", server.url()],
        cwd=tmp_path,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path), "TERM": "dumb"},
    )
    os.write(leader, b"SELECT 44;\rCREATE USER x IDENTIFIED BY 'hushhush';\rexit\r")
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
    assert process.wait() == 0
    history = (tmp_path / "cliphouse" / "sql_history").read_text()
    assert "SELECT 44" in history
    assert "hushhush" not in history
    assert b"s3cret" not in shown


def test_a_session_keeps_what_was_set(server: StandIn) -> None:
    with cliphouse.open(server.url()) as table:
        table.sql("SET max_threads = 3")
        table.sql("CREATE TEMPORARY TABLE kept (x UInt8)")
        table.sql("INSERT INTO kept VALUES (7)")
        table.summary  # noqa: B018 - other statements are of no session
        assert table.sql("SELECT x FROM kept").to_pylist() == [{"x": 7}]
        found = table.sql("SELECT getSetting('max_threads') AS n").to_pylist()
        assert found == [{"n": 3}]


def test_what_takes_long_is_waited_for(server: StandIn) -> None:
    """A statement that changes something has no time-out of the client's; a question has."""
    url = server.url() + "?send_receive_timeout=1"
    with cliphouse.open(url) as table:
        slow = "SELECT sleepEachRow(1) FROM numbers(2) SETTINGS max_block_size = 1"
        table.sql("CREATE TABLE IF NOT EXISTS slow (x UInt8) ENGINE = Memory")
        table.sql(f"INSERT INTO slow {slow}")
        assert table.sql("SELECT count() AS n FROM slow").to_pylist() == [{"n": 2}]
        connection: Connection = table.connection
        connection.retry_seconds = 0
        with pytest.raises(UnreachableError, match="has not answered in time"):
            connection.rows(slow)
    server.fail("hang", "version")
    assert "has not answered in time" in refusal(url)
