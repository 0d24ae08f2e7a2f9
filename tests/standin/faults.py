"""What goes wrong, when a test has told it to."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, replace
from typing import Literal

# close: the connection is closed instead of running the statement.  die: the process ends so.
# lost: the statement runs, and the connection is closed without an answer.
# cut: half of the answer is sent.  exception: half, and then the engine's exception behind it.
# hang: nothing is answered, nor run.  status: an HTTP status, as of a proxy, instead of running.
# error: an error of the engine's (``text``) instead of running.
Kind = Literal["close", "die", "lost", "cut", "exception", "hang", "status", "error"]


@dataclass(frozen=True)
class Fault:
    """The next ``times`` statements that ``match`` (a pattern), after the first ``skip`` of them,
    go wrong."""

    kind: Kind
    match: str = ""
    times: int = 1
    skip: int = 0
    status: int = 503
    text: str = ""


class Faults:
    """Faults that wait for their statements. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._waiting = []

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, query: str) -> Fault | None:
        """What goes wrong with this statement."""
        with self._lock:
            for place, fault in enumerate(self._waiting):
                if not re.search(fault.match, query, re.I | re.DOTALL):
                    continue
                if fault.skip:
                    self._waiting[place] = replace(fault, skip=fault.skip - 1)
                    continue
                self._waiting[place] = replace(fault, times=fault.times - 1)
                self._waiting = [f for f in self._waiting if f.times]
                return fault
        return None
