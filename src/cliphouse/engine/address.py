"""The address of a database: a folder, or a server and its user. Passwords are never shown."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from cliphouse.errors import TableError

USER, PASSWORD, PASSWORD_FILE = "CLIPHOUSE_USER", "CLIPHOUSE_PASSWORD", "CLIPHOUSE_PASSWORD_FILE"
CA_CERT = "CLIPHOUSE_CA_CERT"
_FORM = "http(s)://user:password@host:8123/database"
# The options that may follow a ? in an address; all but the timeouts are for https only.
_FILES = ("ca_cert", "client_cert", "client_cert_key")
_TIMEOUTS = ("connect_timeout", "send_receive_timeout")
_OPTIONS = (*_FILES, "verify", "server_host_name", *_TIMEOUTS)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_ENCODE = (
    "write %40 for @, %2F for /, %23 for #, %3F for ? and %5B for [ in a password, or set it in "
)
_UNREADABLE = f"the database's address cannot be read: {_ENCODE}{PASSWORD}"
_SHORT_SECRET = 5
_NATIVE_PORTS = {9000: "8123", 9440: "8443"}


@dataclass(frozen=True)
class FolderAddress:
    """A folder that the embedded engine opens. ``shown`` is the folder as the user wrote it."""

    folder: Path
    shown: str


@dataclass(frozen=True)
class ServerAddress:
    """The HTTP interface of a ClickHouse server, and the user who connects to it.

    ``options`` are the HTTP client's options that the address sets. An empty ``user`` is the
    server's default user.
    """

    host: str
    port: int
    is_https: bool
    database: str | None
    user: str
    password: str = field(repr=False)
    options: Mapping[str, str | bool | int] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The address without user and password, fit to be printed."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        database = f"/{self.database}" if self.database else ""
        return f"http{'s' * self.is_https}://{host}:{self.port}{database}"

    def redact(self, text: str) -> str:
        """``text`` with *** for the password, in every form in which a server may repeat it."""
        if not self.password:
            return text
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        for secret in (basic, self.password, quote(self.password, safe=""), quote(self.password)):
            # A short password is replaced only as a word of its own: as a part of other words it
            # would hide half of every message.
            is_short = len(secret) <= _SHORT_SECRET
            start = r"(?<![A-Za-z0-9])" if is_short else ""
            end = r"(?![A-Za-z0-9])" if is_short else ""
            text = re.sub(start + re.escape(secret) + end, "***", text)
        return text

    @property
    def port_hint(self) -> str:
        """A hint at the HTTP port if the address has a native port; otherwise empty."""
        if self.port in _NATIVE_PORTS:
            http = _NATIVE_PORTS[self.port]
            return f"; {self.port} is clickhouse-client's own port, HTTP is usually {http}"
        return ""

    def at(self, host: str) -> ServerAddress:
        """The same port, user and options on another host. Statements name databases in full."""
        return replace(self, host=host, database="system")


Address: TypeAlias = FolderAddress | ServerAddress


def parse_address(text: str) -> Address:
    """Read an address: http:// and https:// are servers, a path is a folder. An existing folder is
    that whatever it looks like.

    If a server's address has no user or password, they come from CLIPHOUSE_USER and
    CLIPHOUSE_PASSWORD, or from the file that CLIPHOUSE_PASSWORD_FILE names; the CA certificate
    comes from CLIPHOUSE_CA_CERT.

    Raises TableError, which repeats no part of a server's address that could be a password.
    """
    if re.match(r"https?://", text, re.IGNORECASE):
        return _parse_server(text)
    if _is_folder(text):
        return _parse_folder(text)
    if match := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text):
        raise TableError(f"{match[1]}://...: a database is a folder, or {_FORM}")
    if re.match(r"https?:|[^/\s:]+:[^/\s]*@", text, re.IGNORECASE):
        raise TableError(f"the database's address has no http:// or https://; give {_FORM}")
    if re.match(r"[\w.-]+:\d+(/|$)", text):
        raise TableError(f"{text}: no folder of this name; for a server give http://{text}")
    return _parse_folder(text)


def has_password(text: str) -> bool:
    """Whether a command's argument is, or contains, a server's address with a password."""
    return re.search(r"https?://[^/\s]*:.*@", text, re.IGNORECASE | re.DOTALL) is not None


def without_password(text: str) -> str:
    """A command's argument with *** for everything that may be part of a password."""
    return re.sub(r"(?is)(https?://[^/\s:]*:).*@", r"\1***@", text)


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):  # no folder could have this name
        return False


def _parse_folder(text: str) -> FolderAddress:
    try:
        folder = Path(text).expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise TableError(f"{text}: {error}") from error
    if any(letter in str(folder) for letter in "?#"):
        # The engine would read the rest of the path as options, and open another folder.
        raise TableError(f"{text}: the engine opens no folder with ? or # in its path")
    return FolderAddress(folder, text)


def _parse_server(text: str) -> ServerAddress:
    try:
        parts = urlsplit(text)
    except ValueError:  # its message would repeat the text in brackets
        raise TableError(_UNREADABLE) from None
    if parts.fragment or "@" in parts.path + parts.query:
        raise TableError(_UNREADABLE)
    is_https = parts.scheme.lower() == "https"
    host, port = _host_and_port(parts, is_https)
    database = unquote(parts.path.strip("/")) or None
    if database and "/" in database:
        raise TableError(f"{host}: a server's address ends with one database's name: {_FORM}")
    address = ServerAddress(host, port, is_https, database, user="", password="")
    options = _options(parts.query, address)
    user, password = _credentials(parts)
    return replace(address, user=user, password=password, options=options)


def _host_and_port(parts: SplitResult, is_https: bool) -> tuple[str, int]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        # Its message would repeat a part of the password if the password caused the error.
        raise TableError(
            f"the database's address has no port that is a number up to 65535: {_ENCODE}{PASSWORD}"
        ) from None
    if not host or port == 0:
        raise TableError(f"the database's address names no host or no port: give {_FORM}")
    return host, port or (8443 if is_https else 8123)


def _credentials(parts: SplitResult) -> tuple[str, str]:
    """User and password of the address, else of the environment. If the address has a password,
    even an empty one, the environment's password is not sent."""
    user = unquote(parts.username or "") or os.environ.get(USER, "")
    if parts.password is not None:
        return user, unquote(parts.password)
    password, file = os.environ.get(PASSWORD), os.environ.get(PASSWORD_FILE) or None
    if password is not None and file is not None:
        raise TableError(f"{PASSWORD} and {PASSWORD_FILE} are both set: unset one of them")
    if file is not None:
        try:
            password = Path(file).read_text("utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text in UTF-8"
            raise TableError(f"{PASSWORD_FILE}: {file}: {reason}") from None
    return user or ("default" if password else ""), password or ""


def _options(query: str, address: ServerAddress) -> dict[str, str | bool | int]:
    """The options of an address, checked here because the client would accept any value."""
    options: dict[str, str | bool | int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise TableError(
                f"{address.shown}: no option {name!r}; there are {', '.join(_OPTIONS)}"
            )
        if not address.is_https and name not in _TIMEOUTS:
            raise TableError(f"{address.shown}: {name} is for https:// only")
        options[name] = _option(name, value, address.shown)
    if address.is_https and "ca_cert" not in options and os.environ.get(CA_CERT):
        options["ca_cert"] = os.environ[CA_CERT]
    for name in _FILES:
        file = options.get(name)
        if file is not None and file != "certifi" and not Path(str(file)).is_file():
            raise TableError(f"{address.shown}: {name}: {file}: no such file")
    return options


def _option(name: str, value: str, shown: str) -> str | bool | int:
    if name == "verify":
        if value.lower() not in _BOOLEANS:
            raise TableError(f"{shown}: verify is true or false")
        return _BOOLEANS[value.lower()]
    if name in _TIMEOUTS:
        if not re.fullmatch(r"[1-9]\d{0,5}", value):
            raise TableError(f"{shown}: {name} is a number of seconds, 1 or more")
        return int(value)
    return value
