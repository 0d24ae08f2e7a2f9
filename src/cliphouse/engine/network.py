"""What keeps a server from answering, in words that say what to do about it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from urllib3 import exceptions as http

from cliphouse.engine.address import Server
from cliphouse.errors import UnreachableError

# Codes of ClickHouse errors that pass by themselves (src/Common/ErrorCodes.cpp): those of a server
# that refuses the statement for now, and those after which nobody knows whether it was run.
_REFUSED_FOR_NOW = {
    202: "it runs as many queries as it takes on",
    252: "it has too many parts to merge before it takes more rows",
    373: "the session's statement before is still running",
}
_UNCERTAIN = {
    209: "a connection between servers timed out",
    210: "a connection between servers broke off",
    236: "it is shutting down",
    242: "the table is read-only while its replica has no Keeper",
    319: "whether a replica has the rows is not known",
    999: "Keeper does not answer",
}
_NO_SHARD = 279
_WHY_NO_SHARD = re.compile(
    r"Code: 279\..*?Log:.*?Code: \d+\. DB::\w*Exception: (.*?)\.? \([A-Z_]+\)", re.DOTALL
)
_AGAIN = (429, 502, 503, 504)  # what proxies answer in the server's place


@dataclass(frozen=True)
class _Rule:
    """What exceptions of these types mean."""

    types: tuple[type[BaseException], ...]
    words: str
    may_have_run: bool = False
    is_lasting: bool = False


_RULES = (
    _Rule(
        (ssl.SSLCertVerificationError,),
        "its certificate does not verify ({detail}); name the file of the CA that signed it in "
        "CLIPHOUSE_CA_CERT, and the server by the name that the certificate is for",
        is_lasting=True,
    ),
    _Rule(
        (ssl.SSLEOFError, ssl.SSLZeroReturnError),
        "the connection broke off before the answer",
        may_have_run=True,
    ),
    _Rule(
        (ssl.SSLError,),
        "no TLS there ({detail}); is it http:// rather than https://?{advice}",
        is_lasting=True,
    ),
    _Rule(
        (socket.gaierror,),
        "no machine of the name {host} is known; check the address",
        is_lasting=True,
    ),
    _Rule(
        (ConnectionRefusedError,),
        "nothing listens there; is the server running, and is {port} its HTTP port?{advice}",
    ),
    _Rule((http.ReadTimeoutError,), "the server has not answered in time", may_have_run=True),
    _Rule(
        (http.ConnectTimeoutError,),
        "no connection; check the address, and firewalls on the way",
    ),
    _Rule(
        (http.ProtocolError, ConnectionError),
        "the connection broke off before the answer{tls}{advice}",
        may_have_run=True,
    ),
    _Rule((http.HTTPError, OSError), "cannot be reached: {detail}{advice}", may_have_run=True),
)


def unreachable(
    error: BaseException,
    server: Server,
    shown: str,
    code: int | None,
    said: str,
    is_opening: bool,
) -> UnreachableError | None:
    """Why the server did not answer; None where it did, with an error of the statement's.

    ``error`` is the client's or the transport's exception, ``code`` ClickHouse's, and ``said`` what
    it says in one line. ``is_opening``: no statement of this client was answered yet.
    """
    if code in _REFUSED_FOR_NOW:
        return UnreachableError(f"{shown}: {_REFUSED_FOR_NOW[code]} ({said})", may_have_run=False)
    if code in _UNCERTAIN:
        return UnreachableError(f"{shown}: {_UNCERTAIN[code]} ({said})")
    if code == _NO_SHARD:
        match = _WHY_NO_SHARD.search(str(error))
        why = match[1] if match else said
        return UnreachableError(
            f"{shown}: a shard of the cluster cannot be reached ({why}), and "
            "nothing is done without its rows; run this again when it is up"
        )
    if code is not None:
        return None
    causes = list(_causes(error))
    told = " ".join(map(str, causes))
    if found := _of_transport(causes, server, shown, is_opening):
        return found
    if match := re.search(r"HTTP driver received HTTP status (\d+)", told):
        return _of_status(int(match[1]), server, shown)
    if "Unexpected response to server" in told or "system.settings" in told:
        return UnreachableError(
            f"{shown}: something answers there, but no ClickHouse{server.advice}", is_lasting=True
        )
    return None


def _of_transport(
    causes: list[BaseException], server: Server, shown: str, is_opening: bool
) -> UnreachableError | None:
    for rule in _RULES:
        cause = next((cause for cause in causes if isinstance(cause, rule.types)), None)
        if cause is None:
            continue
        detail = getattr(cause, "verify_message", None) or " ".join(str(cause).split())[:200]
        tls = "; a port for TLS wants https://" if is_opening and not server.is_https else ""
        words = rule.words.format(
            host=server.host, port=server.port, advice=server.advice, detail=detail, tls=tls
        )
        return UnreachableError(f"{shown}: {words}", rule.may_have_run, rule.is_lasting)
    return None


def _of_status(status: int, server: Server, shown: str) -> UnreachableError:
    if status in _AGAIN:
        return UnreachableError(
            f"{shown}: HTTP status {status}; the server, or the proxy before it, is not ready",
            may_have_run=status not in (429, 503),
        )
    return UnreachableError(
        f"{shown}: HTTP status {status}, which is no answer of ClickHouse's{server.advice}",
        is_lasting=True,
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions behind an exception, the innermost first."""
    if error is None:
        return
    reason = getattr(error, "reason", None)
    yield from _causes(reason if isinstance(reason, BaseException) else None)
    for inner in (error.__cause__, error.__context__):
        if inner is not None and inner is not reason:
            yield from _causes(inner)
            break
    yield error
