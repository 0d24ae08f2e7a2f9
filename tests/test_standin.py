"""The stand-in itself: it does what ClickHouse's documentation says of the HTTP interface, asked by
a plain client rather than by the driver."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import clickhouse_connect
import httpx
import lz4.frame
import pyarrow as pa
import pytest

from standin.process import StandIn
from standin.users import BOUND, OWNER, READER, SEARCHER, User


@pytest.fixture
def http(server: StandIn) -> Iterator[httpx.Client]:
    login = httpx.BasicAuth(OWNER.name, OWNER.password)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", auth=login) as client:
        yield client


def as_user(http: httpx.Client, user: User, query: str, **params: str) -> httpx.Response:
    named = {"X-ClickHouse-User": user.name, "X-ClickHouse-Key": user.password}
    bare = httpx.Client(base_url=http.base_url)
    with bare:
        return bare.post("/", content=query, headers=named, params=params)


def test_names_and_passwords_come_in_three_ways(server: StandIn, http: httpx.Client) -> None:
    assert http.get("/ping").text == "Ok.\n"
    assert http.post("/", content="SELECT 1").text == "1\n"
    assert as_user(http, READER, "SELECT 1").text == "1\n"
    bare = httpx.post(
        f"http://127.0.0.1:{server.port}/",
        params={"user": READER.name, "password": READER.password, "query": "SELECT 1"},
    )
    assert bare.text == "1\n"
    wrong = as_user(http, User("someone", "no"), "SELECT 1")
    assert (wrong.status_code, wrong.headers["X-ClickHouse-Exception-Code"]) == (403, "516")


def test_a_session_keeps_settings_and_tables_and_is_locked(http: httpx.Client) -> None:
    session = {"session_id": "one"}
    http.post("/", params=session, content="SET max_threads = 7")
    http.post("/", params=session, content="CREATE TEMPORARY TABLE t (x UInt8) ENGINE = Memory")
    http.post("/", params=session, content="INSERT INTO t VALUES (3)")
    asked = "SELECT (SELECT x FROM t), getSetting('max_threads')"
    assert http.post("/", params=session, content=asked).text == "3\t7\n"
    alone = http.post("/", params=session | {"max_threads": "2"}, content=asked)
    assert alone.text == "3\t2\n"  # for this request
    assert http.post("/", params=session, content=asked).text == "3\t7\n"
    assert http.post("/", content="SELECT getSetting('max_threads')").text != "7\n"
    unknown = {"session_id": "two", "session_check": "1"}
    assert "SESSION_NOT_FOUND" in http.post("/", params=unknown, content="SELECT 1").text
    codes: set[str | None] = set()

    def ask(query: str) -> None:
        told = http.post("/", params=session, content=query)
        codes.add(told.headers.get("X-ClickHouse-Exception-Code"))

    thread = threading.Thread(target=ask, args=("SELECT sleep(1)",))
    thread.start()
    while thread.is_alive() and "373" not in codes:
        ask("SELECT 1")
    thread.join()  # one of the two came first, and turned the other away
    assert "373" in codes


@pytest.mark.parametrize("encoding", [None, "lz4"])
def test_rows_come_in_as_arrow(http: httpx.Client, encoding: str | None) -> None:
    http.post("/", content="DROP TABLE IF EXISTS rows SYNC")
    http.post("/", content="CREATE TABLE rows (x Int64, t String) ENGINE = Memory")
    sink = pa.BufferOutputStream()
    table = pa.table({"x": [1, 2], "t": ["a\nb", "ü"]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    headers = {"Content-Encoding": encoding} if encoding else {}
    body = lz4.frame.compress(data) if encoding else data
    query = "INSERT INTO rows (x, t) FORMAT Arrow"
    assert http.post("/", params={"query": query}, content=body, headers=headers).status_code == 200
    answer = http.post("/", content="SELECT * FROM rows ORDER BY x FORMAT JSONEachRow")
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert [json.loads(line) for line in answer.text.splitlines()] == table.to_pylist()


@pytest.mark.parametrize(
    ("user", "query", "code"),
    [
        (READER, "SELECT 1 SETTINGS max_threads = 1", "164"),
        (READER, "INSERT INTO system.one VALUES (1)", "497"),
        (SEARCHER, "SELECT 1 SETTINGS max_threads = 1", None),
        (SEARCHER, "CREATE TABLE no (x UInt8) ENGINE = Memory", "497"),
        (BOUND, "SELECT 1 SETTINGS hnsw_candidate_list_size_for_search = 9", "452"),
        (OWNER, "SELECT * FROM nothing", "60"),
        (OWNER, "SELECT FROM WHERE", "62"),
    ],
)
def test_errors_are_the_engines(
    http: httpx.Client, user: User, query: str, code: str | None
) -> None:
    answer = as_user(http, user, query)
    assert answer.headers.get("X-ClickHouse-Exception-Code") == code
    assert (answer.status_code == 200) == (code is None)


def test_get_changes_nothing(http: httpx.Client) -> None:
    answer = http.get("/", params={"query": "CREATE TABLE no (x UInt8) ENGINE = Memory"})
    assert "READONLY" in answer.text
    assert http.get("/", params={"query": "SELECT {x:Int32}", "param_x": "4"}).text == "4\n"


def test_it_fails_when_told_to(server: StandIn, http: httpx.Client) -> None:
    server.fail("status", "SELECT 5", times=2, status=504)
    assert [http.post("/", content="SELECT 5").status_code for _ in range(3)] == [504, 504, 200]
    http.post("/", content="CREATE TABLE IF NOT EXISTS done (x UInt8) ENGINE = Memory")
    server.fail("close", "INSERT INTO done")
    server.fail("lost", "INSERT INTO done")
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            http.post("/", content="INSERT INTO done VALUES (1)")
    assert http.post("/", content="SELECT count() FROM done").text == "1\n"
    for kind in ("cut", "exception"):
        server.fail(kind, "numbers", text="Code: 395. DB::Exception: boom. (X)")  # type: ignore[arg-type]
        with pytest.raises(httpx.RemoteProtocolError):
            http.post("/", content="SELECT * FROM numbers(1000)")
    server.stop()
    with pytest.raises(httpx.ConnectError):
        http.post("/", content="SELECT 1")
    server.start()
    assert http.post("/", content="SELECT 1").text == "1\n"


@pytest.mark.parametrize("compress", ["lz4", "gzip", False])
def test_the_driver_inserts_and_reads_its_own_format(
    server: StandIn, http: httpx.Client, compress: str | bool
) -> None:
    http.post("/", content="DROP TABLE IF EXISTS native SYNC")
    http.post("/", content="CREATE TABLE native (x Int64, v Array(Float32)) ENGINE = Memory")
    client = clickhouse_connect.get_client(
        host="127.0.0.1",
        port=server.port,
        username=OWNER.name,
        password=OWNER.password,
        compress=compress,
    )
    rows = [[n, [n / 2, n / 4]] for n in range(5)]
    client.insert("native", rows, column_names=["x", "v"])
    found = client.query("SELECT x, v FROM native ORDER BY x")
    assert [list(map(_listed, row)) for row in found.result_rows] == rows
    assert found.summary["read_rows"] == "5"
    assert len(found.query_id) == 36
    client.close()


def _listed(value: object) -> object:
    return value if isinstance(value, int) else list(value)  # type: ignore[call-overload]
