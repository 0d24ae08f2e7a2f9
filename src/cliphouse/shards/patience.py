"""Trying again: how often, after how long, and when it is enough."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from cliphouse.shards.part import FileError
from cliphouse.shards.transfer import TransientError

_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """How long to go on trying; times in seconds.

    ``tries`` in a row that bring nothing new end a file; ``tries_unanswered`` end the download if
    the server has never answered, ``tries_broken`` a file that arrives whole and is wrong. Waits
    double from ``first_wait`` to ``longest_wait``; a server may ask for up to
    ``longest_retry_after``. ``timeout`` is how long a server may be silent.
    """

    tries: int = 100
    tries_unanswered: int = 5
    tries_broken: int = 3
    first_wait: float = 1.0
    longest_wait: float = 30.0
    longest_retry_after: float = 3600.0
    timeout: float = 60.0


class BrokenError(TransientError):
    """A file arrived whole and is not what it should be."""


class GivenUpError(FileError):
    """All tries failed."""


class Tries:
    """Tries one thing again and again. Waits grow with each try in a row that brings nothing."""

    def __init__(
        self,
        patience: Patience,
        sleep: Callable[[float], None],
        announce: Callable[[str], object],
        is_first: bool = False,
    ) -> None:
        self._patience, self._sleep, self._announce = patience, sleep, announce
        self._is_first = is_first
        self._fruitless = self._broken = 0

    def run(self, action: Callable[[], _T]) -> _T:
        """What ``action`` returns. Raises GivenUpError after the last try."""
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            after=self._count,
            wait=self._wait,
            stop=self._is_enough,
            before_sleep=self._tell,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(action)
        except TransientError as error:
            tries = int(retrying.statistics["attempt_number"])
            asked = f"; the server asks for {error.wait:,.0f} s" if error.wait else ""
            raise GivenUpError(
                f"{error}{asked}; given up after {tries} {'try' if tries == 1 else 'tries'}"
            ) from error

    def progressed(self) -> None:
        """The running try brought something that was not there before."""
        self._fruitless = -1

    def _count(self, state: RetryCallState) -> None:
        self._fruitless += 1
        self._broken += isinstance(_error(state), BrokenError)

    def _wait(self, state: RetryCallState) -> float:
        asked = _error(state).wait or 0.0
        doubled = self._patience.first_wait * 2.0 ** min(max(self._fruitless - 1, 0), 60)
        # Jitter, so that files that failed together do not come back together.
        backoff = min(doubled, self._patience.longest_wait) * random.uniform(0.5, 1.0)
        return max(asked, backoff)

    def _is_enough(self, state: RetryCallState) -> bool:
        patience, error = self._patience, _error(state)
        return (
            self._fruitless >= patience.tries
            or self._broken >= patience.tries_broken
            or (
                self._is_first
                and not error.reached
                and self._fruitless >= patience.tries_unanswered
            )
            or (error.wait or 0.0) > patience.longest_retry_after
        )

    def _tell(self, state: RetryCallState) -> None:
        self._announce(f"{_error(state)}; again in {state.upcoming_sleep:.1f} s")


def _error(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)
    return error
