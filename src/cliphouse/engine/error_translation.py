"""The engine's errors as cliphouse's own: one line, named for what the user can do about it."""

from __future__ import annotations

import re

from clickhouse_connect.driver import exceptions

from cliphouse.engine.address import PASSWORD, USER, Address
from cliphouse.engine.network import unreachable
from cliphouse.errors import (
    CliphouseError,
    EngineError,
    QueryError,
    TableError,
    UnreachableError,
    error_class,
)

# Codes of ClickHouse errors that the user's own statement or name can cause, from
# src/Common/ErrorCodes.cpp.
_SYNTAX_CODES = frozenset({6, 36, 42, 43, 44, 46, 47, 53, 62, 70, 72, 115, 184, 215, 386, 456, 457})
_MISSING_CODES = frozenset({60, 81})
# What an engine's message says beside the fault: its code, stack, version, and the whole statement.
_NOISE = re.compile(
    r"^(Received ClickHouse exception, code: \d+, server response: )?"
    r"(Code: \d+\.\s*)?(DB::Exception:\s*)?"
    r"|\s*\(for url \S+\)$"
    r"|,?\s*Stack trace \(when copying.*"
    r"|\s*\(version [^)]*\)"
    r"|\.?\s*In scope .*?(?=\. Maybe you meant|\.? \([A-Z_]+\)\s*$|$)",
    re.DOTALL,
)
# What an encoder process said (cliphouse.udf.worker), and what the engine says of its end.
_ENCODER_SAID = re.compile(r"Executable generates stderr: (\w+): ([^\n]*)")
_ENCODER_ENDED = re.compile(
    r"User defined function '(encode_\w+)' failed.*?"
    r"(?:by signal (?P<signal>\d+)|with return code (?P<code>\d+)|Broken pipe)",
    re.DOTALL,
)
# A user without the right, from src/Common/ErrorCodes.cpp.
_LOGIN_CODES = frozenset({192, 193, 194, 516})
_NO_DATABASE, _READ_ONLY, _NO_GRANT = 81, 164, 497
_FORBIDDEN_SETTING = re.compile(
    r"Setting (\w+) (?:should not be|is readonly|shouldn't be)|Cannot modify '(\w+)' setting"
)
_NO_ENCODER = re.compile(r"Function with name `(encode_(?:text|image|image_or_empty))`")


def translate(
    error: exceptions.Error, address: Address, is_opening: bool = False
) -> CliphouseError:
    """``error`` as ours, without the password where the server or something before it echoes it.
    ``is_opening``: the database has not answered yet."""
    server = address.server
    if server is None:
        return _of_engine(str(error), error.code, address.shown)
    told = server.hide(str(error))
    if found := unreachable(error, server, address.shown, error.code, one_line(told), is_opening):
        return UnreachableError(server.hide(str(found)), found.may_have_run, found.is_lasting)
    return _of_access(told, error.code, address) or _of_engine(told, error.code, address.shown)


def is_safe(error: exceptions.Error, address: Address) -> bool:
    """Whether an error may be shown as the cause of ours: nothing in it is the password."""
    server = address.server
    return server is None or server.hide(str(error)) == str(error)


def _of_access(told: str, code: int | None, address: Address) -> CliphouseError | None:
    """What a server does not let this user do."""
    server, shown = address.server, address.shown
    assert server is not None
    who = f"user {server.user or 'default'}"
    if code in _LOGIN_CODES:
        return TableError(
            f"{shown}: the server does not let {who} in: the name or the password is wrong; give "
            f"them in the address, or in {USER} and {PASSWORD}"
        )
    if code == _NO_DATABASE and server.database and server.database in told:
        return TableError(
            f"{shown}: there is no database {server.database}; make it with CREATE DATABASE "
            f"{server.database}, or name another at the end of the address"
        )
    if match := _FORBIDDEN_SETTING.search(told):
        return TableError(f"{shown}: {who} may not change the setting {match[1] or match[2]}")
    if code == _READ_ONLY:
        return TableError(f"{shown}: {who} may only read: {one_line(told)}")
    if code == _NO_GRANT:
        return TableError(f"{shown}: {who} lacks a privilege: {one_line(told)}")
    return None


def _of_engine(told: str, code: int | None, shown: str) -> CliphouseError:
    if match := _ENCODER_SAID.search(told):
        kind = error_class(match[1])
        if kind is not None:
            return kind(match[2])
    if match := _ENCODER_ENDED.search(told):
        how = f" (killed by signal {match['signal']})" if match["signal"] else ""
        how = f" (exit code {match['code']})" if match["code"] else how
        return EngineError(
            f"{shown}: the encoder process behind {match[1]} ended{how}; the next query starts a "
            "new one"
        )
    message = one_line(told)
    if match := _NO_ENCODER.search(told):
        return QueryError(
            f"{shown} has no function {match[1]}; on a server, install it with: "
            "cliphouse udf install"
        )
    if code in _MISSING_CODES:
        return TableError(f"{shown}: {message}")
    if code in _SYNTAX_CODES:
        return QueryError(message)
    return EngineError(f"{shown}: {message}")


def one_line(message: str) -> str:
    """An engine's message without code, stack, version and statement, in one line."""
    return " ".join(_NOISE.sub("", message).split())
