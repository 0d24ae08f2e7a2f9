"""Retries of a download: how many, after which waits, and when a file is given up."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from cliphouse.shards.partial_file import FileError
from cliphouse.shards.transfer import TransientError

_T = TypeVar("_T")


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again and when to give up; times are in seconds.

    A file is given up after ``max_attempts`` in a row that bring no new bytes, or after
    ``max_corrupt`` in which it arrives complete but wrong. The download ends after
    ``max_unanswered`` if the server has never answered. Waits double from ``first_wait`` to
    ``longest_wait``; a server may ask for up to ``longest_retry_after``. A server that sends
    nothing for ``timeout`` has failed.
    """

    max_attempts: int = 100
    max_unanswered: int = 5
    max_corrupt: int = 3
    first_wait: float = 1.0
    longest_wait: float = 30.0
    longest_retry_after: float = 3600.0
    timeout: float = 60.0


class CorruptFileError(TransientError):
    """A file arrived complete but with wrong contents."""


class GaveUpError(FileError):
    """All attempts failed."""


class Retrier:
    """Runs one action until it succeeds. Waits grow with each attempt in a row without progress."""

    def __init__(
        self,
        policy: RetryPolicy,
        sleep: Callable[[float], None],
        report_wait: Callable[[str], object],
        is_first_contact: bool = False,
    ) -> None:
        """``report_wait`` is called with the reason before each wait. ``is_first_contact`` means
        that the server has not answered before."""
        self._policy, self._sleep, self._report_wait = policy, sleep, report_wait
        self._is_first_contact = is_first_contact
        self._without_progress = self._corrupt = 0

    def run(self, action: Callable[[], _T]) -> _T:
        """What ``action`` returns. Raises GaveUpError after the last attempt."""
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            after=self._count,
            wait=self._wait,
            stop=self._is_enough,
            before_sleep=self._report,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(action)
        except TransientError as error:
            attempts = int(retrying.statistics["attempt_number"])
            asked = f"; the server asks for a wait of {error.wait:,.0f} s" if error.wait else ""
            raise GaveUpError(
                f"{error}{asked}; given up after {attempts} {'try' if attempts == 1 else 'tries'}"
            ) from error

    def progressed(self) -> None:
        """Count the running attempt as progress: it brought new bytes."""
        self._without_progress = -1

    def _count(self, state: RetryCallState) -> None:
        self._without_progress += 1
        self._corrupt += isinstance(_error(state), CorruptFileError)

    def _wait(self, state: RetryCallState) -> float:
        asked = _error(state).wait or 0.0
        doubled = self._policy.first_wait * 2.0 ** min(max(self._without_progress - 1, 0), 60)
        # Jitter, so that files that failed together are not fetched again together.
        backoff = min(doubled, self._policy.longest_wait) * random.uniform(0.5, 1.0)
        return max(asked, backoff)

    def _is_enough(self, state: RetryCallState) -> bool:
        policy, error = self._policy, _error(state)
        never_answered = self._is_first_contact and not error.reached
        return (
            self._without_progress >= policy.max_attempts
            or self._corrupt >= policy.max_corrupt
            or (never_answered and self._without_progress >= policy.max_unanswered)
            or (error.wait or 0.0) > policy.longest_retry_after
        )

    def _report(self, state: RetryCallState) -> None:
        self._report_wait(f"{_error(state)}; trying again in {state.upcoming_sleep:.1f} s")


def _error(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)
    return error
