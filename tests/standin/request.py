"""A request of ClickHouse's HTTP interface: its statement, parameters, settings and data."""

from __future__ import annotations

import email
import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import lz4.frame

# What a server reads from the URL that is no setting (src/Server/HTTPHandler.cpp).
_RESERVED = frozenset(
    (
        *("query", "database", "default_format", "session_id", "session_timeout", "session_check"),
        *("query_id", "quota_key", "compress", "decompress", "wait_end_of_query", "buffer_size"),
        *("role", "client_protocol_version", "user", "password", "stacktrace", "close_session"),
    )
)
_INSERT = re.compile(rb"\s*(INSERT\s+INTO\s.*?)\s+FORMAT\s+(\w+)\s*(?:\n|$)", re.DOTALL | re.I)


@dataclass
class Request:
    """One statement with its parameters and settings; ``data`` is what an INSERT carries."""

    query: str
    data: bytes | None = None
    database: str = "default"
    parameters: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    default_format: str = "TabSeparated"
    values: dict[str, str] = field(default_factory=dict)
    is_get: bool = False

    @property
    def session(self) -> str | None:
        return self.values.get("session_id")

    @classmethod
    def parse(cls, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Request:
        values = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        body = _decompressed(body, headers.get("Content-Encoding"))
        content_type = headers.get("Content-Type") or ""
        if content_type.startswith("multipart/form-data"):
            form = email.message_from_bytes(
                b"Content-Type: " + content_type.encode() + b"\n\n" + body
            )
            for part in form.get_payload():
                name = part.get_param("name", header="content-disposition")
                values[name] = part.get_payload(decode=True).decode()
            body = b""
        made = cls("", values=values, is_get=method == "GET")
        made.database = values.get("database", "default")
        by_value = values.get("default_format", "TabSeparated")
        made.default_format = headers.get("X-ClickHouse-Format") or by_value
        made.parameters = {k[6:]: v for k, v in values.items() if k.startswith("param_")}
        made.settings = {
            k: v for k, v in values.items() if k not in _RESERVED and not k.startswith("param_")
        }
        made._read_statement(values.get("query", "").encode(), body)
        return made

    def _read_statement(self, statement: bytes, body: bytes) -> None:
        match = _INSERT.match(statement or body)
        if match and (statement or match.end() < len(body)):
            self.query = match[1].decode()
            self.default_format = match[2].decode()
            self.data = body if statement else body[match.end() :]
        else:
            both = statement + b"\n" + body if statement and body else statement or body
            self.query = both.decode()


def _decompressed(body: bytes, encoding: str | None) -> bytes:
    if encoding == "lz4":
        return lz4.frame.decompress(body)
    return gzip.decompress(body) if encoding == "gzip" else body
