"""A web server that serves files well, except where it was told to misbehave.

It knows Range, If-Range, ETag and HEAD. Tricks are told per address and used up one a GET, in
order; after the last one the server behaves. Every request is noted with the moment it came.
"""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import tally

LAST_MODIFIED = "Sat, 01 Jan 2022 00:00:00 GMT"


@dataclass(frozen=True)
class Request:
    """What came in, and what went out. ``at`` is in seconds of time.monotonic."""

    method: str
    path: str
    range: str | None
    at: float
    status: list[int] = field(default_factory=list, compare=False)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self._note()
        if self.server.head_status is not None:
            return self.refuse(self.server.head_status)
        return self.serve(with_body=False)

    def do_GET(self) -> None:
        self._note()
        trick = self.server.next_trick(self.path)
        try:
            trick(self) if trick else self.serve()
        except OSError:  # the client went away
            self.close_connection = True

    def serve(
        self,
        *,
        with_body: bool = True,
        with_range: bool = True,
        announced: int = 0,
        stop_at: int | None = None,
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        """Answer as one should; ``announced`` is added to the true length, ``stop_at`` cuts the
        answer after so many bytes and closes the connection."""
        data = self.server.files.get(self.path)
        if data is None:
            return self.refuse(404)
        start = self._range_start() if with_range else 0
        if start and start >= len(data):
            return self.refuse(416)
        self.begin(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for name, value in self.server.validators(self.path).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) - start + announced))
        self.end_headers()
        if with_body:
            (write or self.wfile.write)(data[start:][:stop_at])
        if stop_at is not None or announced:
            self.close_connection = True
        return None

    def begin(self, status: int) -> None:
        self.request_note.status.append(status)
        self.send_response(status)

    def refuse(self, status: int, **headers: str) -> None:
        body = b"<html>not what you came for</html>"
        self.begin(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _note(self) -> None:
        self.request_note = Request(
            self.command, self.path, self.headers.get("Range"), time.monotonic()
        )
        self.server.requests.append(self.request_note)

    def _range_start(self) -> int:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        condition = self.headers.get("If-Range")
        same = condition in (None, *self.server.validators(self.path).values())
        if self.server.ignores_if_range:
            same = True
        return int(match[1]) if match and same else 0


Trick = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    """Files by path, and what to do wrong. ``sends`` are the validators it tells."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.sends = {"ETag", "Last-Modified"}
        self.weak_etags = False
        self.ignores_if_range = False
        self.head_status: int | None = None
        self.requests: list[Request] = []
        self.default_trick: Trick | None = None
        self._tricks: dict[str, list[Trick]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def misbehave(self, path: str, *tricks: Trick) -> None:
        self._tricks.setdefault(path, []).extend(tricks)

    def next_trick(self, path: str) -> Trick | None:
        waiting = self._tricks.get(path)
        if not waiting:
            return self.default_trick
        tally.count("faults")
        return waiting.pop(0)

    def gets(self, path: str) -> list[Request]:
        return [r for r in self.requests if r.method == "GET" and r.path == path]

    def validators(self, path: str) -> dict[str, str]:
        etag = f'"{hashlib.sha256(self.files[path]).hexdigest()[:16]}"'
        known = {"ETag": f"W/{etag}" if self.weak_etags else etag, "Last-Modified": LAST_MODIFIED}
        return {name: value for name, value in known.items() if name in self.sends}

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients are killed in the middle; that is what this is for


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def cut(at: int) -> Trick:
    """Close the connection after ``at`` bytes of the body."""
    return lambda handler: handler.serve(stop_at=at)


def reset(at: int) -> Trick:
    """Send ``at`` bytes and reset the connection (RST)."""

    def trick(handler: Handler) -> None:
        handler.serve(stop_at=at)
        handler.wfile.flush()
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()

    return trick


def wrong_length(by: int) -> Trick:
    """Announce ``by`` bytes more (or fewer) than are sent."""
    if by < 0:
        return lambda handler: handler.serve(
            announced=by, write=lambda data: _write(handler, data[:by])
        )
    return lambda handler: handler.serve(announced=by)


def status(code: int, **headers: str) -> Trick:
    return lambda handler: handler.refuse(code, **headers)


def ignore_range() -> Trick:
    return lambda handler: handler.serve(with_range=False)


def cut_and_change(at: int, new: bytes) -> Trick:
    """Cut, and have another file under the same address from then on."""

    def trick(handler: Handler) -> None:
        handler.serve(stop_at=at)
        handler.server.files[handler.path] = new

    return trick


def answer(data: bytes) -> Trick:
    """200, with other bytes than the file's."""

    def trick(handler: Handler) -> None:
        handler.begin(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return trick


def bad_range(content_range: str, data: bytes) -> Trick:
    """206, whatever was asked, with this Content-Range."""

    def trick(handler: Handler) -> None:
        handler.begin(206)
        for name, value in handler.server.validators(handler.path).items():
            handler.send_header(name, value)
        handler.send_header("Content-Range", content_range)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return trick


def chunked() -> Trick:
    """The file with no length told."""

    def trick(handler: Handler) -> None:
        handler.begin(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        data = handler.server.files[handler.path]
        for start in range(0, len(data), 1000):
            piece = data[start : start + 1000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    return trick


def drip(size: int, pause: float) -> Trick:
    """``size`` bytes at a time, ``pause`` seconds between."""

    def trick(handler: Handler) -> None:
        def write(data: bytes) -> None:
            for start in range(0, len(data), size):
                _write(handler, data[start : start + size])
                time.sleep(pause)

        handler.serve(write=write)

    return trick


def hang(at: int, hanging: threading.Event, until: threading.Event) -> Trick:
    """Send ``at`` bytes, then say nothing more until ``until`` is set."""

    def trick(handler: Handler) -> None:
        def write(data: bytes) -> None:
            _write(handler, data[:at])
            hanging.set()
            until.wait(30)
            _write(handler, data[at:])

        handler.serve(write=write)

    return trick


def _write(handler: Handler, data: bytes) -> None:
    handler.wfile.write(data)
    handler.wfile.flush()
