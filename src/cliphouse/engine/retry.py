"""Statements sent again when a server did not answer: which of them may be, and for how long."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from cliphouse.engine.statements import only_reads
from cliphouse.errors import UnreachableError

log = logging.getLogger("cliphouse.table")
# For how many seconds a statement is repeated: where somebody waits for an answer, and in work that
# takes minutes or hours and ought to survive that the server is started anew.
SHORT, LONG = 3.0, 120.0
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
# Doing these twice is doing them once.
_IDEMPOTENT = re.compile(
    r"\s*(CREATE (TABLE|DATABASE) IF NOT EXISTS|DROP TABLE IF EXISTS|OPTIMIZE|SYSTEM|KILL"
    r"|DELETE FROM|ALTER TABLE \S+( ON CLUSTER '[^']*')? (MODIFY (COMMENT|SETTING)"
    r"|ADD (INDEX|COLUMN) IF NOT EXISTS|DROP INDEX IF EXISTS))\b"
)
_T = TypeVar("_T")


def is_repeatable(sql: str, settings: Mapping[str, Any]) -> bool:
    """Whether a statement may be sent twice: it only reads, it is idempotent, or it is an insert
    whose token has the engine keep it once."""
    return (
        only_reads(sql)
        or _IDEMPOTENT.match(sql) is not None
        or "insert_deduplication_token" in settings
    )


def persist(action: Callable[[], _T], repeatable: bool, seconds: float) -> _T:
    """What ``action`` returns, tried for ``seconds`` while the server does not answer, with growing
    waits, which the log tells of where they may be long. What may have been run is tried again only
    if it is ``repeatable``.

    Raises the last UnreachableError, and any other error at once.
    """

    def again(error: BaseException) -> bool:
        return (
            isinstance(error, UnreachableError)
            and not error.is_lasting
            and (repeatable or not error.may_have_run)
        )

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 1 and seconds > SHORT and state.outcome is not None:
            log.warning("%s; trying again for %.0f seconds", state.outcome.exception(), seconds)

    retrying = Retrying(
        retry=retry_if_exception(again),
        before_sleep=tell,
        wait=wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT),
        stop=stop_after_delay(seconds),
        reraise=True,
    )
    return retrying(action)
