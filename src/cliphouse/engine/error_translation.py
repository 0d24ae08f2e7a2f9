"""The engine's errors as cliphouse's own: one line, named for what the user can do about it."""

from __future__ import annotations

import re

from clickhouse_connect.driver import exceptions

from cliphouse.engine.address import PASSWORD, USER, ServerAddress
from cliphouse.engine.damage import met_damage
from cliphouse.engine.network import unreachable
from cliphouse.engine.refusal import read_missing, read_refusal
from cliphouse.errors import (
    CliphouseError,
    EngineError,
    QueryError,
    TableError,
    UnreachableError,
    error_class,
)
from cliphouse.shards.disk import DiskError

# Codes of ClickHouse errors that the user's own statement or name can cause, from
# src/Common/ErrorCodes.cpp.
_STATEMENT_CODES = frozenset(
    (
        *(6, 20, 36, 38, 41, 42, 43, 44, 46, 47, 53, 59, 62, 70, 72),
        *(115, 125, 153, 184, 215, 386, 395, 427, 456, 457),
    )
)
_MISSING_CODES = frozenset({60, 81})
# The parts of an engine's message that are not the fault itself: its code, stack, version, and the
# whole statement.
_NOISE = re.compile(
    r"^(Received ClickHouse exception, code: \d+, server response: )?"
    r"(Code: \d+\.\s*)?(DB::Exception:\s*)?"
    r"|\s*\(for url \S+\)$"
    r"|,?\s*Stack trace \(when copying.*"
    r"|\s*\(version [^)]*\)"
    r"|[.:]?\s*(?:[Ii]n scope|In query) .*?(?=\. Maybe you meant|\.? \([A-Z_]+\)\s*$|$)",
    re.DOTALL,
)
# The error of an encoder process (cliphouse.udf.worker), and how the engine reports that it ended.
# An error that the engine passes on has its code in front and behind once more each time.
_INNER_CODE = re.compile(r"\bCode: \d+\. DB::\w*Exception: ")
_CODE_AGAIN = re.compile(r"(\([A-Z_]+\))(?:\.? \1)+")
_ENCODER_ERROR = re.compile(r"Executable generates stderr: (\w+): ([^\n]*)")
_ENCODER_ENDED = re.compile(
    r"User defined function '(encode_\w+)' failed.*?"
    r"(?:by signal (?P<signal>\d+)|with return code (?P<code>\d+)|Broken pipe)",
    re.DOTALL,
)
# Codes of errors about logins and privileges, from src/Common/ErrorCodes.cpp.
_LOGIN_CODES = frozenset({192, 193, 194, 516})
_NO_DATABASE, _READ_ONLY, _NO_GRANT = 81, 164, 497
_FORBIDDEN_SETTING = re.compile(
    r"Setting (\w+) (?:should not be|is readonly|shouldn't be)|Cannot modify '(\w+)' setting"
)
_DISK_FULL = re.compile(
    r"No space left on device|not enough space|Disk quota exceeded", re.IGNORECASE
)
_NO_ENCODER = re.compile(r"Function with name `(encode_(?:text|image|image_or_empty))`")


def server_error(
    error: exceptions.Error, address: ServerAddress, is_opening: bool = False
) -> CliphouseError:
    """Translate an error of a server's client; the password is hidden if the message repeats it.

    ``is_opening`` means that the server has not answered this client before.
    """
    message = address.redact(str(error))
    found = unreachable(error, address, clean_message(message), is_opening)
    if found is not None:
        return UnreachableError(address.redact(str(found)), found.may_have_run, found.is_lasting)
    return _access_error(message, error.code, address) or engine_error(
        message, error.code, address.shown
    )


def engine_error(message: str, code: int | None, shown: str) -> CliphouseError:
    """Translate a ClickHouse error; ``shown`` is the database's name in messages."""
    if match := _ENCODER_ERROR.search(message):
        kind = error_class(match[1])
        if kind is not None:
            return kind(match[2])
    if match := _ENCODER_ENDED.search(message):
        how = f" (killed by signal {match['signal']})" if match["signal"] else ""
        how = f" (exit code {match['code']})" if match["code"] else how
        return EngineError(
            f"{shown}: the encoder process of {match[1]} ended{how}; the next query starts a "
            "new one"
        )
    cleaned = clean_message(message)
    if _DISK_FULL.search(message):
        return DiskError(
            f"{shown}: the disk is full: {cleaned}; make room, and run the same command again"
        )
    if damage := met_damage(message):
        return EngineError(
            f"{shown}: {damage}; cliphouse check names all of the damage, and what to do about it"
        )
    if match := _NO_ENCODER.search(message):
        return QueryError(
            f"{shown} has no function {match[1]}; on a server, install it with: "
            "cliphouse udf install"
        )
    if code in _MISSING_CODES:
        return read_missing(cleaned, shown)
    if code in _STATEMENT_CODES:
        return read_refusal(cleaned)
    return EngineError(f"{shown}: {cleaned}")


def clean_message(message: str) -> str:
    """An engine's message without code, stack, version and statement, in one line."""
    cleaned = _INNER_CODE.sub("", " ".join(_NOISE.sub("", message).split()))
    return _CODE_AGAIN.sub(r"\1", cleaned)


def _access_error(message: str, code: int | None, address: ServerAddress) -> CliphouseError | None:
    """The error if the server does not let this user do something; otherwise None."""
    shown, who = address.shown, f"user {address.user or 'default'}"
    if code in _LOGIN_CODES:
        return TableError(
            f"{shown}: the server does not let {who} in: the name or the password is wrong; give "
            f"them in the address, or in {USER} and {PASSWORD}"
        )
    if code == _NO_DATABASE and address.database and address.database in message:
        return TableError(
            f"{shown}: there is no database {address.database}; make it with CREATE DATABASE "
            f"{address.database}, or name another at the end of the address"
        )
    if match := _FORBIDDEN_SETTING.search(message):
        return TableError(f"{shown}: {who} may not change the setting {match[1] or match[2]}")
    if code == _READ_ONLY:
        return TableError(f"{shown}: {who} may only read: {clean_message(message)}")
    if code == _NO_GRANT:
        return TableError(f"{shown}: {who} lacks a privilege: {clean_message(message)}")
    return None
