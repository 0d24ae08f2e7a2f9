"""Why a server did not answer, in messages that say what to do about it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from clickhouse_connect.driver import exceptions
from urllib3 import exceptions as http

from cliphouse.engine.address import ServerAddress
from cliphouse.errors import UnreachableError

# Codes of temporary ClickHouse errors (src/Common/ErrorCodes.cpp): the server has refused the
# statement for now, or it is not known whether the statement ran.
_REFUSED_FOR_NOW = {
    202: "it runs as many queries as its limit allows",
    252: "it has too many parts to merge before it accepts more rows",
    373: "the previous statement of the session is still running",
}
_UNCERTAIN = {
    209: "a connection between servers timed out",
    210: "a connection between servers broke off",
    236: "it is shutting down",
    242: "the table is read-only while its replica has no Keeper",
    319: "it is not known whether a replica has the rows",
    999: "Keeper does not answer",
}
_NO_SHARD = 279
_WHY_NO_SHARD = re.compile(
    r"Code: 279\..*?Log:.*?Code: \d+\. DB::\w*Exception: (.*?)\.? \([A-Z_]+\)", re.DOTALL
)
_TEMPORARY_STATUSES = (429, 502, 503, 504)  # a proxy answers these in place of the server


@dataclass(frozen=True)
class _Failure:
    """The message for exceptions of these types, and whether the statement may have run."""

    types: tuple[type[BaseException], ...]
    message: str
    may_have_run: bool = False
    is_lasting: bool = False


_FAILURES = (
    _Failure(
        (ssl.SSLCertVerificationError,),
        "its certificate does not verify ({detail}); name the file of the CA that signed it in "
        "CLIPHOUSE_CA_CERT, and the server by the name that the certificate is for",
        is_lasting=True,
    ),
    _Failure(
        (ssl.SSLEOFError, ssl.SSLZeroReturnError),
        "the connection broke off before the answer",
        may_have_run=True,
    ),
    _Failure(
        (ssl.SSLError,),
        "the port does not speak TLS ({detail}); is it http:// rather than https://?{hint}",
        is_lasting=True,
    ),
    _Failure(
        (socket.gaierror,),
        "the name {host} cannot be resolved; check the address",
        is_lasting=True,
    ),
    _Failure(
        (ConnectionRefusedError,),
        "nothing listens there; is the server running, and is {port} its HTTP port?{hint}",
    ),
    _Failure((http.ReadTimeoutError,), "the server has not answered in time", may_have_run=True),
    _Failure(
        (http.ConnectTimeoutError,),
        "no connection; check the address and the firewalls",
    ),
    _Failure(
        (http.ProtocolError, ConnectionError),
        "the connection broke off before the answer{tls}{hint}",
        may_have_run=True,
    ),
    _Failure((http.HTTPError, OSError), "cannot be reached: {detail}{hint}", may_have_run=True),
)


def unreachable(
    error: exceptions.Error, server: ServerAddress, message: str, is_opening: bool
) -> UnreachableError | None:
    """The error if the server did not answer; None if it answered with an error of the statement.

    ``message`` is the text of ``error`` in one line, without the password. ``is_opening`` means
    that the server has not answered this client before.
    """
    shown, code = server.shown, error.code
    if code in _REFUSED_FOR_NOW:
        return UnreachableError(
            f"{shown}: {_REFUSED_FOR_NOW[code]} ({message})", may_have_run=False
        )
    if code in _UNCERTAIN:
        return UnreachableError(f"{shown}: {_UNCERTAIN[code]} ({message})")
    if code == _NO_SHARD:
        match = _WHY_NO_SHARD.search(str(error))
        why = match[1] if match else message
        return UnreachableError(
            f"{shown}: a shard of the cluster cannot be reached ({why}), and "
            "nothing is done without its rows; run this again when it is up"
        )
    if code is not None:
        return None
    causes = list(_causes(error))
    if found := _transport_error(causes, server, is_opening):
        return found
    messages = " ".join(map(str, causes))
    if match := re.search(r"HTTP driver received HTTP status (\d+)", messages):
        return _status_error(int(match[1]), server)
    if "Unexpected response to server" in messages or "system.settings" in messages:
        return UnreachableError(
            f"{shown}: something answers there, but it is not ClickHouse{server.port_hint}",
            is_lasting=True,
        )
    return None


def _transport_error(
    causes: list[BaseException], server: ServerAddress, is_opening: bool
) -> UnreachableError | None:
    for failure in _FAILURES:
        cause = next((cause for cause in causes if isinstance(cause, failure.types)), None)
        if cause is None:
            continue
        message = failure.message.format(
            host=server.host,
            port=server.port,
            hint=server.port_hint,
            detail=getattr(cause, "verify_message", None) or " ".join(str(cause).split())[:200],
            tls="; a TLS port needs https://" if is_opening and not server.is_https else "",
        )
        return UnreachableError(
            f"{server.shown}: {message}", failure.may_have_run, failure.is_lasting
        )
    return None


def _status_error(status: int, server: ServerAddress) -> UnreachableError:
    if status in _TEMPORARY_STATUSES:
        return UnreachableError(
            f"{server.shown}: HTTP status {status}; the server, or the proxy before it, is not "
            "ready",
            may_have_run=status not in (429, 503),
        )
    return UnreachableError(
        f"{server.shown}: HTTP status {status}, which ClickHouse does not answer{server.port_hint}",
        is_lasting=True,
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those behind it, the innermost first."""
    if error is None:
        return
    reason = getattr(error, "reason", None)
    yield from _causes(reason if isinstance(reason, BaseException) else None)
    for inner in (error.__cause__, error.__context__):
        if inner is not None and inner is not reason:
            yield from _causes(inner)
            break
    yield error
