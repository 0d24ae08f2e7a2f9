"""Sending a statement again if a server did not answer: which statements, and for how long."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from cliphouse.engine.statements import only_reads
from cliphouse.errors import UnreachableError

if TYPE_CHECKING:
    from tenacity import RetryCallState

log = logging.getLogger("cliphouse.table")
RETRY_SECONDS = 3.0
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
# Statements that have the same effect when they run twice.
_IDEMPOTENT = re.compile(
    r"\s*(CREATE (TABLE|DATABASE) IF NOT EXISTS|DROP TABLE IF EXISTS|OPTIMIZE|SYSTEM|KILL"
    r"|DELETE FROM|ALTER TABLE \S+( ON CLUSTER '[^']*')? (MODIFY (COMMENT|SETTING)"
    r"|ADD (INDEX|COLUMN) IF NOT EXISTS|DROP INDEX IF EXISTS))\b"
)
_T = TypeVar("_T")


@dataclass(frozen=True)
class RetryTimes:
    """How long a statement is sent again, in seconds: ``short`` while a user waits for the answer,
    ``long`` in work of minutes or hours that should survive a restart of the server."""

    short: float = RETRY_SECONDS
    long: float = 120.0


RETRY_TIMES = RetryTimes()


def is_repeatable(sql: str, settings: Mapping[str, Any]) -> bool:
    """Whether a statement may be sent twice: it only reads, it is idempotent, or it is an insert
    with a token by which the engine keeps its rows only once."""
    return (
        only_reads(sql)
        or _IDEMPOTENT.match(sql) is not None
        or "insert_deduplication_token" in settings
    )


def with_retries(action: Callable[[], _T], repeatable: bool, seconds: float) -> _T:
    """Call ``action``, and call it again for ``seconds`` while the server does not answer.

    Waits grow between the calls; if they may be long, a warning is logged. An action that may have
    run on the server is called again only if it is ``repeatable``.

    Raises the last UnreachableError; any other error is raised without a retry.
    """

    from tenacity import (
        Retrying,
        retry_if_exception,
        stop_after_delay,
        wait_random_exponential,
    )

    def may_retry(error: BaseException) -> bool:
        return (
            isinstance(error, UnreachableError)
            and not error.is_lasting
            and (repeatable or not error.may_have_run)
        )

    def warn(state: RetryCallState) -> None:
        is_first = state.attempt_number == 1
        if is_first and seconds > RETRY_SECONDS and state.outcome is not None:
            log.warning("%s; trying again for %.0f seconds", state.outcome.exception(), seconds)

    retrying = Retrying(
        retry=retry_if_exception(may_retry),
        before_sleep=warn,
        wait=wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT),
        stop=stop_after_delay(seconds),
        reraise=True,
    )
    return retrying(action)
