"""A stand-in for a ClickHouse server, which no package registry has: its HTTP interface on chDB.

The engine is the real one; only the way to it is made here, as faithful as the client needs:
queries in the body, the URL or a form, ``param_`` values, settings, inserts with data behind the
statement, basic authentication, and errors with their code. Run it as a process:

    python clickhouse_http.py FOLDER USER PASSWORD [CONFIG]     (prints its port when it serves)
"""

from __future__ import annotations

import base64
import contextlib
import email
import hmac
import json
import os
import re
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import chdb

# What a real server reads from the URL beside settings.
_RESERVED = frozenset(
    (
        *("query", "database", "default_format", "session_id", "session_timeout", "session_check"),
        *("query_id", "quota_key", "compress", "decompress", "wait_end_of_query", "buffer_size"),
        *("role", "client_protocol_version", "enable_http_compression"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms"),
    )
)
_INSERT = re.compile(rb"\s*(INSERT\s+INTO\s.*?)\s+FORMAT\s+(\w+)\s*(?:\n|$)", re.DOTALL | re.I)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)


@dataclass
class Request:
    """One statement with its parameters and settings; ``data`` is what an INSERT carries."""

    query: str
    data: bytes | None = None
    database: str = "default"
    parameters: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    default_format: str = "TabSeparated"

    @classmethod
    def parse(cls, url: str, content_type: str, body: bytes) -> Request:
        values = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        if content_type.startswith("multipart/form-data"):
            form = email.message_from_bytes(
                b"Content-Type: " + content_type.encode() + b"\n\n" + body
            )
            for part in form.get_payload():
                name = part.get_param("name", header="content-disposition")
                values[name] = part.get_payload(decode=True).decode()
            body = b""
        made = cls("", None, values.get("database", "default"))
        made.default_format = values.get("default_format", "TabSeparated")
        made.parameters = {k[6:]: v for k, v in values.items() if k.startswith("param_")}
        made.settings = {
            k: v for k, v in values.items() if k not in _RESERVED and not k.startswith("param_")
        }
        statement = values.get("query", "").encode()
        match = _INSERT.match(statement or body)
        if match and (statement or match.end() < len(body)):
            made.query = match[1].decode()
            made.default_format = match[2].decode()
            made.data = body if statement else body[match.end() :]
        else:
            made.query = (
                statement + b"\n" + body if statement and body else statement or body
            ).decode()
        return made


class Engine:
    """The embedded engine behind the interface."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._keep_open = chdb.connect(folder)

    def run(self, request: Request) -> tuple[bytes, str, dict[str, str]]:
        """The result's bytes, its format, and the summary a server sends."""
        connection = chdb.connect(self._folder)
        try:
            connection.query(f"USE `{request.database}`")
            for name, value in request.settings.items():
                quoted = value.replace("\\", "\\\\").replace("'", "\\'")
                connection.query(f"SET {name} = '{quoted}'")
            with self._data_file(request) as query:
                match = _FORMAT.search(query)
                fmt = match[1] if match else request.default_format
                result = connection.query(query, fmt, params=request.parameters)
                summary = {"read_rows": str(result.rows_read()), "written_rows": "0"}
                return result.bytes() or b"", fmt, summary
        finally:
            connection.close()

    @contextlib.contextmanager
    def _data_file(self, request: Request):
        if request.data is None:
            yield request.query
            return
        with tempfile.NamedTemporaryFile() as file:
            file.write(request.data)
            file.flush()
            yield f"{request.query} FROM INFILE '{file.name}' FORMAT {request.default_format}"


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    engine: Engine
    credentials: str

    def do_GET(self) -> None:
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

    def _answer(self, body: bytes) -> None:
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given, self.credentials):
            self._send(403, b"Code: 516. DB::Exception: Authentication failed", code="516")
            return
        try:
            request = Request.parse(self.path, self.headers.get("Content-Type", ""), body)
            data, fmt, summary = self.engine.run(request)
        # The engine's own message, as a server sends it.
        except Exception as error:  # noqa: BLE001
            message = str(error)
            match = re.search(r"Code: (\d+)", message)
            self._send(500, message.encode(), code=match[1] if match else "1001")
            return
        self._send(200, data, fmt if data else None, summary)

    def _send(
        self,
        status: int,
        data: bytes,
        fmt: str | None = None,
        summary: dict[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-ClickHouse-Summary", json.dumps(summary or {}))
        if fmt:
            self.send_header("X-ClickHouse-Format", fmt)
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no news."""


def main(folder: str, user: str, password: str, config: str | None = None) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    Handler.engine = Engine(folder if config is None else f"{folder}?config-file={config}")
    Handler.credentials = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()  # the one who started it holds the other end
    os._exit(0)  # connections that clients keep alive are not waited for


if __name__ == "__main__":
    main(*sys.argv[1:])
