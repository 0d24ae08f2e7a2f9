"""The engine's errors as cliphouse's own: one line, named for what the user can do about it."""

from __future__ import annotations

import re

from clickhouse_connect.driver import exceptions

from cliphouse import errors
from cliphouse.errors import CliphouseError, EngineError, QueryError, TableError

# Codes of ClickHouse errors that the user's own statement or name can cause, from
# src/Common/ErrorCodes.cpp.
_SYNTAX_CODES = frozenset({6, 36, 42, 43, 44, 46, 47, 53, 62, 70, 72, 115, 184, 215, 386, 456, 457})
_MISSING_CODES = frozenset({60, 81})
# What an engine's message says beside the fault: its code, stack, version, and the whole statement.
_NOISE = re.compile(
    r"^(Code: \d+\.\s*)?(DB::Exception:\s*)?"
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
_NO_ENCODER = re.compile(r"Function with name `(encode_(?:text|image|image_or_empty))`")

# What a server says of a cluster's node that it cannot reach (ALL_CONNECTION_TRIES_FAILED).
_DEAD_SHARD = re.compile(
    r"Code: 279\..*?Log:.*?Code: \d+\. DB::\w*Exception: (.*?)\.? \([A-Z_]+\)", re.DOTALL
)


def translate(error: exceptions.Error, shown: str) -> CliphouseError:
    """``error`` as ours; ``shown`` is the database's name, safe to print."""
    told = str(error)
    if match := _ENCODER_SAID.search(told):
        kind = getattr(errors, match[1], None)
        if isinstance(kind, type) and issubclass(kind, CliphouseError):
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
    if match := _DEAD_SHARD.search(told):
        return EngineError(
            f"{shown}: a shard of the cluster cannot be reached ({match[1]}), and nothing is done "
            "without its rows; run this again when it is up (cliphouse info shows the nodes)"
        )
    if error.code in _MISSING_CODES:
        return TableError(f"{shown}: {message}")
    if error.code in _SYNTAX_CODES:
        return QueryError(message)
    return EngineError(f"{shown}: {message}")


def one_line(message: str) -> str:
    """An engine's message without code, stack, version and statement, in one line."""
    return " ".join(_NOISE.sub("", message).split())
