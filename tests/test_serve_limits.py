"""What the service refuses: strangers, haste, giants, more than it can do; and what it finishes."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from cliphouse.errors import UserError
from cliphouse.models import ClipEncoder
from cliphouse.server.keys import KeyRing, hash_key, read_key_file
from cliphouse.server.settings import Limits, ServeSettings
from cliphouse.table import Table
from serving import Drawn, Served, serving

KEY = "k" * 24
PATIENCE = 30.0


@pytest.fixture
def settings(drawn: Drawn) -> ServeSettings:
    return ServeSettings(db=str(drawn.db), workers=1)


class Held:
    """Holds every search in its worker until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.done = 0
        search = Table.search_many

        def slow(table: Table, *given: Any, **named: Any) -> Any:
            self.begun.release()
            assert self.go.wait(PATIENCE)
            self.done += 1
            return search(table, *given, **named)

        monkeypatch.setattr(Table, "search_many", slow)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held(monkeypatch)
    yield held
    held.go.set()


def ask(url: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{url}/api/search", json={"id": 3} | body, timeout=PATIENCE)


def figure(served: Served, name: str) -> float:
    lines = served.http.get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def until(served: Served, name: str, value: float) -> None:
    """Asks for a figure until it is ``value``; the test's own time limit is the end of patience."""
    while figure(served, name) != value:
        pass


def test_without_a_key_nothing_is_told(settings: ServeSettings, drawn: Drawn) -> None:
    other = "another-key-of-some-length"
    keyed = replace(settings, keys=(hash_key(KEY), hash_key(other)))
    with serving(keyed) as served:
        get = served.http.get
        for headers in ({}, {"X-Api-Key": KEY + "x"}, {"Authorization": f"Basic {KEY}"}):
            for path in ("/api/info", "/api/items/3", "/api/image/3", "/metrics", "/no"):
                answer = get(path, headers=headers)
                assert (answer.status_code, set(answer.json())) == (401, {"error"})
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/health", "/health/live", "/docs", "/openapi.json"):
            assert get(path).status_code == 200
        for headers in ({"X-Api-Key": KEY}, {"Authorization": f"bearer {other}"}):
            assert get("/api/items/3", headers=headers).json()["id"] == 3


def test_a_key_file_holds_hashes_only(tmp_path: Path) -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    file = tmp_path / "keys"
    file.write_text(f"# those who may ask\n\n{digest.upper()}  -\n{'0' * 64} laptop\n")
    ring = KeyRing(read_key_file(file))
    assert ring.recognise(KEY) == digest[:8]
    assert ring.recognise(digest) is None
    assert ring.recognise("") is None
    file.write_text(f"\ufeff{digest}\r\n")  # as Windows' Notepad writes it
    assert read_key_file(file) == (digest,)
    for text, told in ((KEY, "no SHA-256 hash"), ("", "no keys"), (None, "cannot be read")):
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        with pytest.raises(UserError, match=told) as caught:
            read_key_file(file)
        assert KEY not in str(caught.value)
    with pytest.raises(UserError, match="openssl rand"):
        hash_key("short")


def test_who_asks_too_often_waits(settings: ServeSettings) -> None:
    keys = ("first-key-of-some-length", "second-key-of-some-length")
    limited = replace(settings, keys=tuple(map(hash_key, keys)), limits=Limits(rate="3/hour"))
    with serving(limited) as served:
        first, second = ({"X-Api-Key": key} for key in keys)
        codes = [served.http.get("/api/items/1", headers=first).status_code for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]
        refused = served.http.get("/api/items/1", headers=first)
        assert refused.json()["error"]["type"] == "rate_limit"
        assert 3000 < int(refused.headers["retry-after"]) <= 3600
        assert served.http.get("/api/items/1", headers=second).status_code == 200
        assert served.http.get("/health").status_code == 200


def test_giant_bodies_are_refused_before_they_arrive(settings: ServeSettings) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 10_000
            yield b" " * 10_000

    with serving(replace(settings, limits=Limits(body_bytes=100_000))) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as plain:
            plain.sendall(
                b"POST /api/search HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 999999\r\n\r\n"
            )
            assert plain.recv(100).startswith(b"HTTP/1.1 413")
        try:
            answer = served.http.post("/api/search", content=endless())
            assert answer.status_code == 413
            assert answer.json()["error"]["type"] == "too_large"
        except httpx.WriteError:  # the service has hung up, which is as good
            pass
        assert sent < 50_000_000
        assert ask(served.url).status_code == 200
        json_type = {"Content-Type": "application/json"}
        for spaces, status in ((99_991, 200), (99_992, 413)):
            content = b'{"id": 3}' + b" " * spaces
            answer = served.http.post("/api/search", content=content, headers=json_type)
            assert answer.status_code == status


def test_many_bodies_at_once_have_no_more_room_than_ten(settings: ServeSettings) -> None:
    body = b'{"id": 3}'.ljust(1000)
    head = (
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: 1000\r\n\r\n"
    )
    with serving(replace(settings, limits=Limits(body_bytes=1000))) as served, ExitStack() as open_:
        clients = [
            open_.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            for _ in range(10)
        ]
        for client in clients:
            client.sendall(head + body[:999])
        # That they have arrived shows in that the eleventh is refused; until then it is answered.
        while not (refused := _raw(served.port, head + body)).startswith(b"HTTP/1.1 503"):
            assert refused.startswith(b"HTTP/1.1 200")
        assert b"Retry-After" in refused or b"retry-after" in refused
        for client in clients:
            client.sendall(body[999:])
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert _raw(served.port, head + body).startswith(b"HTTP/1.1 200")


def _raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request)
        return client.recv(4000)


def test_slow_bodies_are_given_up(settings: ServeSettings) -> None:
    with serving(replace(settings, limits=Limits(body_seconds=0.2))) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as slow:
            slow.sendall(
                b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
            )
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
        assert ask(served.url).status_code == 200


def test_more_than_it_takes_on_is_refused_and_it_recovers(
    settings: ServeSettings, held: Held
) -> None:
    full = replace(settings, limits=Limits(queue=2))
    with serving(full) as served, ThreadPoolExecutor(3) as clients:
        taken = [clients.submit(ask, served.url) for _ in range(3)]
        assert held.begun.acquire(timeout=PATIENCE)
        until(served, "cliphouse_queue_length", 2)
        for _ in range(20):
            refused = ask(served.url)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["error"]["type"] == "overloaded"
        assert served.http.get("/health").status_code == 200
        held.go.set()
        assert [answer.result().status_code for answer in taken] == [200] * 3
        assert ask(served.url).status_code == 200
        assert figure(served, "cliphouse_overloaded_total") == 20


def test_who_leaves_while_waiting_costs_nothing(settings: ServeSettings, held: Held) -> None:
    body = json.dumps({"queries": [{"id": 3}] * 9}).encode()
    head = (
        "POST /api/search/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with serving(settings) as served, ThreadPoolExecutor(1) as clients:
        leaving = socket.create_connection(("127.0.0.1", served.port))
        leaving.sendall(head.encode() + body)
        assert held.begun.acquire(timeout=PATIENCE)
        leaving.close()  # the first of its nine searches runs; the others are not begun
        until(served, "cliphouse_gone_total", 1)
        first = clients.submit(ask, served.url)
        waiting = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(4)]
        for client in waiting:
            client.sendall(head.encode() + body)
        until(served, "cliphouse_queue_length", 5)
        for client in waiting:
            client.close()
        until(served, "cliphouse_queue_length", 1)
        until(served, "cliphouse_gone_total", 5)
        held.go.set()
        assert first.result().status_code == 200
    assert held.done == 2


def test_what_runs_is_finished_when_the_service_ends(
    settings: ServeSettings, drawn: Drawn, held: Held
) -> None:
    with serving(settings) as served, ThreadPoolExecutor(3) as clients:
        asked = [clients.submit(ask, served.url) for _ in range(2)]
        assert held.begun.acquire(timeout=PATIENCE)
        until(served, "cliphouse_queue_length", 1)
        stopping = clients.submit(served.stop)
        while True:
            try:
                socket.create_connection(("127.0.0.1", served.port), timeout=1).close()
            except OSError:
                break  # nobody new is let in
        held.go.set()
        assert [answer.result().status_code for answer in asked] == [200, 200]
        stopping.result()
    with Table(settings.db) as table:  # and the database is free again
        assert table.summary().rows == len(drawn.image)


def test_words_that_wait_are_encoded_together(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    begun, go = threading.Event(), threading.Event()
    encode = ClipEncoder.encode_text

    def slow(encoder: ClipEncoder, texts: list[str]) -> Any:
        batches.append(len(texts))
        begun.set()
        assert go.wait(PATIENCE)
        return encode(encoder, texts)

    with serving(settings) as served, ThreadPoolExecutor(9) as clients:
        monkeypatch.setattr(ClipEncoder, "encode_text", slow)
        asked = [clients.submit(ask, served.url, id=None, words="a red star")]
        assert begun.wait(PATIENCE)
        more = [f"a {colour} star" for colour in ("red", "blue", "green", "pink")] * 2
        asked += [clients.submit(ask, served.url, id=None, words=words) for words in more]
        until(served, "cliphouse_encode_queue_length", 8)
        go.set()
        found = [answer.result().json()["hits"][0]["id"] for answer in asked]
        alone = [ask(served.url, id=None, words=w).json()["hits"][0]["id"] for w in more]
    assert batches[:2] == [1, 8]
    assert found[1:] == alone


def test_only_its_own_names_are_answered_to_on_loopback(settings: ServeSettings) -> None:
    with serving(settings) as served:
        for host, status in (
            ("localhost", 200), ("LOCALHOST:99", 200), ("127.0.0.1", 200), ("[::1]:1", 200),
            ("evil.example", 400), ("evil.example:1234", 400), ("localhost.evil.example", 400),
            ("[::2]", 400), ("", 400),
        ):  # fmt: skip
            answer = served.http.get("/api/items/3", headers={"Host": host})
            assert answer.status_code == status, host
    named = replace(settings, hosts=("search.example",))
    with serving(named) as served:
        for host, status in (("search.example", 200), ("127.0.0.1", 200), ("evil.example", 400)):
            assert served.http.get("/health", headers={"Host": host}).status_code == status


def test_answers_carry_what_keeps_browsers_safe(settings: ServeSettings) -> None:
    origin = "https://page.example"
    with serving(replace(settings, cors=(origin,))) as served:
        for path in ("/api/items/3", "/nowhere", "/api/items/x"):
            headers = served.http.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            policy = headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
        for asking, allowed in ((origin, origin), ("https://evil.example", None)):
            answer = served.http.get("/api/items/3", headers={"Origin": asking})
            assert answer.headers.get("access-control-allow-origin") == allowed
            asked = {"Origin": asking, "Access-Control-Request-Method": "POST"}
            preflight = served.http.options("/api/search", headers=asked)
            assert preflight.headers.get("access-control-allow-origin") == allowed


def test_a_fault_is_json_too(settings: ServeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret /path")

    monkeypatch.setattr(Table, "items", broken)
    with serving(settings) as served:
        answer = served.http.get("/api/items/3")
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "internal")
        assert "secret" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("with_queries", [False, True])
def test_the_log_says_what_was_sought_only_where_asked(
    settings: ServeSettings, caplog: pytest.LogCaptureFixture, with_queries: bool
) -> None:
    caplog.set_level("INFO", "cliphouse.server")
    with serving(replace(settings, log_queries=with_queries)) as served:
        ask(served.url, id=None, words="a private thing")
        served.http.get("/api/items/3?table=laion")
    assert ("a private thing" in caplog.text) is with_queries
    assert ("table=laion" in caplog.text) is with_queries
    assert "POST '/api/search' 200" in caplog.text
