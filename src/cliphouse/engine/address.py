"""Where a database is: a folder, or a server and who asks there; its password is never shown."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from cliphouse.errors import TableError

USER, PASSWORD, PASSWORD_FILE = "CLIPHOUSE_USER", "CLIPHOUSE_PASSWORD", "CLIPHOUSE_PASSWORD_FILE"
CA_CERT = "CLIPHOUSE_CA_CERT"
_FORM = "http(s)://user:password@host:8123/database"
# What may follow a ? in an address; all but the times are for https.
_FILES = ("ca_cert", "client_cert", "client_cert_key")
_OPTIONS = (*_FILES, "verify", "server_host_name", "connect_timeout", "send_receive_timeout")
_TIMES = ("connect_timeout", "send_receive_timeout")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_ENCODE = (
    "write %40 for @, %2F for /, %23 for #, %3F for ? and %5B for [ in a password, or give it by "
)
_UNREADABLE = f"the database's address cannot be read: {_ENCODE}{PASSWORD}"
_SHORT = 5
_NATIVE_PORTS = {9000: "8123", 9440: "8443"}


@dataclass(frozen=True)
class Server:
    """A ClickHouse server's HTTP interface, and who asks there. ``options`` are those of its client
    that the address names. An empty ``user`` is the server's default one."""

    host: str
    port: int
    is_https: bool
    database: str | None
    user: str
    password: str = field(repr=False)
    options: Mapping[str, str | bool | int] = field(default_factory=dict)

    def hide(self, text: str) -> str:
        """``text`` without the password, in any of the forms in which it may be echoed."""
        if not self.password:
            return text
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        for secret in (basic, self.password, quote(self.password, safe=""), quote(self.password)):
            # A short one is hidden as a word of its own, or half of every message would be gone.
            is_word = "" if len(secret) > _SHORT else r"(?<![A-Za-z0-9])"
            ends = "" if len(secret) > _SHORT else r"(?![A-Za-z0-9])"
            text = re.sub(is_word + re.escape(secret) + ends, "***", text)
        return text

    @property
    def advice(self) -> str:
        """What may be wrong with the port; empty where nothing seems to be."""
        if self.port in _NATIVE_PORTS:
            http = _NATIVE_PORTS[self.port]
            return f"; {self.port} is clickhouse-client's own port, HTTP is usually {http}"
        return ""


@dataclass(frozen=True)
class Address:
    """Where a database is. ``shown`` is safe to print: it has no password. One of ``folder`` (an
    embedded engine's) and ``server`` is there."""

    shown: str
    folder: Path | None
    server: Server | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """A plain path is an embedded folder; http:// and https:// are servers.

        What an address of a server does not say of user and password comes from CLIPHOUSE_USER and
        CLIPHOUSE_PASSWORD, or a file that CLIPHOUSE_PASSWORD_FILE names; the certificate of its CA
        from CLIPHOUSE_CA_CERT. Raises TableError, which repeats nothing of a server's address that
        could be a password.
        """
        if re.match(r"https?://", text, re.IGNORECASE):
            return _server(text)
        if match := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text):
            raise TableError(f"{match[1]}://...: a database is a folder, or {_FORM}")
        if re.match(r"https?:|[^/\s:]+:[^/\s]*@", text, re.IGNORECASE):
            raise TableError(f"the database's address has no http:// or https://; give {_FORM}")
        if re.match(r"[\w.-]+:\d+(/|$)", text) and not Path(text).exists():
            raise TableError(f"{text}: no folder of this name; for a server give http://{text}")
        try:
            folder = Path(text).expanduser().resolve()
        except (RuntimeError, OSError) as error:
            raise TableError(f"{text}: {error}") from error
        if any(letter in str(folder) for letter in "?#"):
            # The engine would take what follows for options, and open another folder.
            raise TableError(f"{text}: the engine takes no folder with ? or # in its path")
        return cls(text, folder)

    def at(self, host: str) -> Address:
        """Another server, which is spoken to in the same way; its databases are named in full."""
        assert self.server is not None
        there = replace(self.server, host=host, database="system")
        return Address(_shown(host, there.port, there.is_https, there.database), None, there)


def has_password(text: str) -> bool:
    """Whether a command's argument is, or holds, a server's address with a password."""
    return re.search(r"https?://[^/\s]*:.*@", text, re.IGNORECASE | re.DOTALL) is not None


def without_password(text: str) -> str:
    """Such an argument with *** for all that may be part of the password."""
    return re.sub(r"(?is)(https?://[^/\s:]*:).*@", r"\1***@", text)


def _server(text: str) -> Address:
    try:
        parts = urlsplit(text)
    except ValueError:  # its message would repeat what stands in brackets
        raise TableError(_UNREADABLE) from None
    if parts.fragment or "@" in parts.path + parts.query:
        raise TableError(_UNREADABLE)
    is_https = parts.scheme.lower() == "https"
    host, port = _host_and_port(parts, is_https)
    database = unquote(parts.path.strip("/")) or None
    if database and "/" in database:
        raise TableError(f"{host}: a server's address ends with one database's name: {_FORM}")
    shown = _shown(host, port, is_https, database)
    options = _options(parts.query, shown, is_https)
    user, password = _credentials(parts, shown)
    return Address(shown, None, Server(host, port, is_https, database, user, password, options))


def _shown(host: str, port: int, is_https: bool, database: str | None) -> str:
    named = f"[{host}]" if ":" in host else host
    return f"http{'s' * is_https}://{named}:{port}" + (f"/{database}" if database else "")


def _host_and_port(parts: SplitResult, is_https: bool) -> tuple[str, int]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        # Its message would repeat a part of the password, where that is what is wrong.
        raise TableError(
            f"the database's address has no port that is a number up to 65535: {_ENCODE}{PASSWORD}"
        ) from None
    if not host or port == 0:
        raise TableError(f"the database's address names no host or no port: give {_FORM}")
    return host, port or (8443 if is_https else 8123)


def _credentials(parts: SplitResult, shown: str) -> tuple[str, str]:
    """The address's own, then the environment's. A password of the environment is not sent where
    the address has one, be it empty."""
    user = unquote(parts.username or "") or os.environ.get(USER, "")
    if parts.password is not None:
        return user, unquote(parts.password)
    password, file = os.environ.get(PASSWORD), os.environ.get(PASSWORD_FILE) or None
    if password is not None and file is not None:
        raise TableError(f"{PASSWORD} and {PASSWORD_FILE} are both set: unset one of them")
    if file is not None:
        try:
            password = Path(file).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            what = getattr(error, "strerror", None) or "no text in UTF-8"
            raise TableError(f"{PASSWORD_FILE}: {file}: {what}") from None
    return user or ("default" if password else ""), password or ""


def _options(query: str, shown: str, is_https: bool) -> dict[str, str | bool | int]:
    """The options of an address, checked here: the client would take them for anything."""
    options: dict[str, str | bool | int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise TableError(f"{shown}: no option {name!r}; there are {', '.join(_OPTIONS)}")
        if not is_https and name not in _TIMES:
            raise TableError(f"{shown}: {name} is for https:// alone")
        options[name] = _option(name, value, shown)
    if is_https and "ca_cert" not in options and os.environ.get(CA_CERT):
        options["ca_cert"] = os.environ[CA_CERT]
    for name in _FILES:
        file = options.get(name)
        if file is not None and file != "certifi" and not Path(str(file)).is_file():
            raise TableError(f"{shown}: {name}: {file}: no such file")
    return options


def _option(name: str, value: str, shown: str) -> str | bool | int:
    if name == "verify":
        if value.lower() not in _BOOLEANS:
            raise TableError(f"{shown}: verify is true or false")
        return _BOOLEANS[value.lower()]
    if name in _TIMES:
        if not re.fullmatch(r"[1-9]\d{0,5}", value):
            raise TableError(f"{shown}: {name} is a number of seconds, 1 or more")
        return int(value)
    return value
