"""A small stand-in for the Hugging Face hub on this machine: repositories made of bytes, served as
the hub's own library asks for them, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REVISION = "5" * 40
LARGE = 100_000  # bytes from which a file has its SHA-256 listed, as those of Git LFS have


@dataclass
class Hub:
    """``files`` are by repository and path. A download of a path in ``cut`` breaks off after so
    many bytes, once. Of a path in ``damaged``, the last byte is another. ``ranges`` are the
    beginnings of what was asked for in part."""

    files: dict[str, dict[str, bytes]]
    cut: dict[str, int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    ranges: list[str] = field(default_factory=list)
    url: str = ""

    def tree(self, repository: str) -> list[dict[str, object]]:
        return [_entry(path, data) for path, data in self.files[repository].items()]


def _entry(path: str, data: bytes) -> dict[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if len(data) >= LARGE:
        found = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        entry["lfs"] = found
    return entry


@contextmanager
def serve_hub(files: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """Serve on a free port until the end of the block."""
    hub = Hub(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/tree/.*|/revision/.*)?", path):
                repository, rest = found.groups()
                if repository not in hub.files:
                    return self._send(404, b"{}")
                tree = hub.tree(repository)
                said: object = tree
                if not (rest or "").startswith("/tree"):
                    siblings = [{"rfilename": entry["path"]} for entry in tree]
                    said = {"id": repository, "sha": REVISION, "siblings": siblings}
                return self._send(200, json.dumps(said).encode())
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
            if found is None or found[2] not in hub.files.get(found[1], {}):
                return self._send(404, b"")
            return self._send_file(found[2], hub.files[found[1]][found[2]])

        def _send_file(self, path: str, data: bytes) -> None:
            entry = _entry(path, data)
            tag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]  # type: ignore[index]
            if path in hub.damaged:
                data = data[:-1] + bytes([data[-1] ^ 1])
            headers = {"ETag": f'"{tag}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
            begin = 0
            if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                begin = int(asked[1])
                if begin and self.command == "GET":
                    hub.ranges.append(path)
                headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            cut = hub.cut.pop(path, None) if self.command == "GET" else None
            self._send(206 if begin else 200, data[begin:], headers, cut)

        def _send(
            self,
            status: int,
            data: bytes,
            headers: dict[str, str] | None = None,
            cut: int | None = None,
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {"Content-Type": "application/json"}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[:cut])
            if cut is not None:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
