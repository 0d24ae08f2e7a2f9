"""The stand-in for a ClickHouse server (see the package standin) as a process.

    python clickhouse_http.py FOLDER USER PASSWORD [--config FILE] [--port N] [--users FILE]
                              [--cert FILE]

It prints its port when it serves, ends with its standard input, and is told there what to do, a
line of JSON at a time: {"do": "fault", ...}, "pretend", "stop" (listening, and all connections),
"start" (on the same port, if it has stopped), "clear" (all faults), "waiting" (how many are left),
"seen" (the statements so far). It answers each with a line.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gzip
import hmac
import json
import os
import re
import socket
import ssl
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

import lz4.frame

from standin.engine import Engine, Result
from standin.faults import Fault, Faults
from standin.pretend import Pretence
from standin.request import Request
from standin.users import User, read_users

_STATUS = {"516": 403, "194": 401, "497": 403, "164": 403, "60": 404, "81": 404, "62": 400}


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the second part of an answer waits for the first's receipt
    engine: Engine
    users: dict[str, User]
    faults = Faults()
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.path == "/ping":
            self._send(200, b"Ok.\n")
        else:
            self._answer(b"")

    def do_POST(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self._answer(b"".join(self._chunks()))
        else:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _chunks(self):
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _user(self) -> User | None:
        """Who asks, by one of the ways that a server takes a name and a password in."""
        values = dict(parse_qsl(urlsplit(self.path).query))
        name, password = values.get("user", "default"), values.get("password", "")
        if "X-ClickHouse-User" in self.headers:
            name = self.headers["X-ClickHouse-User"]
            password = self.headers.get("X-ClickHouse-Key", "")
        elif (given := self.headers.get("Authorization", "")).startswith("Basic "):
            name, _, password = base64.b64decode(given[6:]).decode().partition(":")
        user = self.users.get(name)
        is_right = user and hmac.compare_digest(user.password.encode(), password.encode())
        return user if is_right else None

    def _answer(self, body: bytes) -> None:
        user = self._user()
        if user is None:
            self._refuse(
                "Code: 516. DB::Exception: Authentication failed: password is incorrect, or there "
                "is no user with such name. (AUTHENTICATION_FAILED)"
            )
            return
        request = Request.parse(self.command, self.path, self.headers, body)
        self.seen.append(request.query)
        fault = self.faults.take(request.query)
        if fault and self._goes_wrong_before(fault):
            return
        # The engine's own message, as a server sends it.
        try:
            result = self.engine.run(request, user)
        except Exception as error:  # noqa: BLE001
            self._refuse(str(error))
            return
        if fault:
            self._goes_wrong_after(fault, result)
        else:
            self._send_result(request, result)

    def _goes_wrong_before(self, fault: Fault) -> bool:
        """Whether the statement is not even run."""
        if fault.kind == "die":
            os._exit(9)
        elif fault.kind == "close":
            self._hang_up()
        elif fault.kind == "hang":
            with contextlib.suppress(OSError):
                self.connection.recv(1)  # until the client gives up, or the server stops
            self._hang_up()
        elif fault.kind == "status":
            self._send(fault.status, fault.text.encode())
        elif fault.kind == "error":
            self._refuse(fault.text)
        else:
            return False
        return True

    def _goes_wrong_after(self, fault: Fault, result: Result) -> None:
        half = result.data[: len(result.data) // 2]
        if fault.kind == "cut":
            self._head(200, {"Content-Length": str(len(result.data))})
            self.wfile.write(half)
        elif fault.kind == "exception":
            # As servers from 25.11 on do it: a tagged exception, and no last chunk.
            tag = uuid.uuid4().hex[:16]
            self._head(200, {"Transfer-Encoding": "chunked", "X-ClickHouse-Exception-Tag": tag})
            told = f"{fault.text}\n".encode()
            frame = f"\r\n__exception__\r\n{tag}\r\n".encode() + told
            frame += f"{len(told)} {tag}\r\n__exception__\r\n".encode()
            for chunk in (half, frame):
                if chunk:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send_result(self, request: Request, result: Result) -> None:
        data, headers = result.data, {}
        accepted = self.headers.get("Accept-Encoding", "")
        if data and request.settings.get("enable_http_compression") == "1":
            if "lz4" in accepted:
                data, headers["Content-Encoding"] = lz4.frame.compress(data), "lz4"
            elif "gzip" in accepted:
                data, headers["Content-Encoding"] = gzip.compress(data), "gzip"
        if data:
            headers["X-ClickHouse-Format"] = result.format
        headers["X-ClickHouse-Query-Id"] = request.values.get("query_id") or str(uuid.uuid4())
        summary = {"read_rows": str(result.rows_read), "written_rows": "0"}
        headers["X-ClickHouse-Summary"] = json.dumps(summary)
        self._send(200, data, headers)

    def _refuse(self, message: str) -> None:
        match = re.search(r"Code: (\d+)", message)
        code = match[1] if match else "1001"
        self._send(
            _STATUS.get(code, 500),
            f"{message}\n".encode(),
            {"X-ClickHouse-Exception-Code": code},
        )

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, {"Content-Length": str(len(data)), **(headers or {})})
        self.wfile.write(data)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Listens, and can stop as a server that goes down: its connections are cut too."""

    daemon_threads = True

    def __init__(self, port: int, cert: str | None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self._open: set[socket.socket] = set()
        if cert is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert)
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def process_request(self, request: socket.socket, client_address: object) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no news."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Control:
    """Does what the test says."""

    def __init__(self, port: int, cert: str | None) -> None:
        self._cert = cert
        self._server: Server | None = self._start(port)
        self.port = self._server.server_port

    def do(self, order: dict[str, object]) -> object:
        what = order.pop("do")
        if what == "fault":
            Handler.faults.add(Fault(**order))  # type: ignore[arg-type]
        elif what == "pretend":
            lists = {k: tuple(v) if isinstance(v, list) else v for k, v in order.items()}
            Handler.engine.pretence = Pretence(**lists)  # type: ignore[arg-type]
        elif what == "clear":
            Handler.faults.clear()
            Handler.engine.pretence = Pretence()
            Handler.seen.clear()
        elif what == "seen":
            return list(Handler.seen)
        elif what == "waiting":
            return len(Handler.faults)
        elif what == "stop":
            if self._server is not None:
                self._server.stop()
            self._server = None
        elif what == "start":
            self._server = self._server or self._start(self.port)
        else:
            raise ValueError(what)
        return "done"

    def _start(self, port: int) -> Server:
        server = Server(port, self._cert)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server


def main(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("user")
    parser.add_argument("password")
    parser.add_argument("--config")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--users", type=Path)
    parser.add_argument("--cert", help="certificate and key in one file: serve https")
    given = parser.parse_args(arguments)
    users = (User(given.user, given.password), *(read_users(given.users) if given.users else ()))
    Handler.engine = Engine(given.folder, users, given.config)
    Handler.users = {user.name: user for user in users}
    control = Control(given.port, given.cert)
    print(control.port, flush=True)
    for line in sys.stdin:
        print(json.dumps(control.do(json.loads(line))), flush=True)
    os._exit(0)  # connections that clients keep alive are not waited for


if __name__ == "__main__":
    main(*sys.argv[1:])
