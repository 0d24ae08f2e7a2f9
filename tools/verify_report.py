"""What tools/verify_server.py has found, step by step."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cliphouse.errors import CliphouseError


class WrongError(Exception):
    """An answer that is not the right one."""


class LeftOutError(Exception):
    """A step that cannot be done here, and why."""


@dataclass(frozen=True)
class Outcome:
    """How a step ended: ok, FAILED or left out, with a line of what was found."""

    name: str
    state: str
    said: str
    seconds: float


@dataclass
class Report:
    """The steps so far, printed as they end."""

    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, name: str, step: Callable[[], str]) -> None:
        started = time.perf_counter()
        try:
            state, said = "ok", step()
        except LeftOutError as error:
            state, said = "left out", str(error)
        except (CliphouseError, WrongError, OSError, subprocess.SubprocessError) as error:
            state, said = "FAILED", " ".join(str(error).split())
        outcome = Outcome(name, state, said, time.perf_counter() - started)
        self.outcomes.append(outcome)
        print(f"{state:>8}  {outcome.seconds:7.2f} s  {name}: {said}", flush=True)

    @property
    def failed(self) -> int:
        return sum(outcome.state == "FAILED" for outcome in self.outcomes)


def expect(is_right: bool, otherwise: str) -> None:
    """Raises WrongError with ``otherwise`` where it is not."""
    if not is_right:
        raise WrongError(otherwise)
