"""Killing work at each step of it.

The work is Python that runs in a process of its own, the *victim*. Before each step it says which
kind of step comes, and may kill itself there: at the first step of a kind, or some time after a
certain step. So a kill falls where it should however slow the machine is.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tally
from forked import python

# How a victim begins. Its arguments are the kind of the step at which it dies, the number of the
# step after which it dies, and how many seconds later.
_VICTIM = """
import sys
sys.path.insert(0, {tests!r})
import crash
kind, number, after = sys.argv[1:4]
step = crash.Steps(kind, int(number), float(after))
{work}
"""


class Steps:
    """The steps of this process's work: call it before each with the step's kind."""

    def __init__(self, kind: str, number: int, after: float) -> None:
        """Die at the first step of ``kind``, or ``after`` seconds after the step ``number``, the
        first of which is 1; "" and 0 are never."""
        self._lock = threading.Lock()
        self._kind = kind
        self._number = number
        self._after = after
        self._count = 0

    def __call__(self, kind: str) -> None:
        with self._lock:
            self._count += 1
            print(f"step {kind}", flush=True)
            is_last = self._count == self._number
            if kind == self._kind or (is_last and not self._after):
                os.kill(os.getpid(), signal.SIGKILL)
            if is_last:
                kill = threading.Timer(self._after, os.kill, (os.getpid(), signal.SIGKILL))
                kill.daemon = True
                kill.start()


def watch(step: Callable[[str], None], owner: type, *names: str) -> None:
    """Have each call of these methods be a step. Its kind is a statement's, or the method's name
    with the folder that a file is moved into."""
    for name in names:
        setattr(owner, name, _told(step, name, getattr(owner, name)))


def _told(step: Callable[[str], None], name: str, method: Callable[..., Any]) -> Any:
    signature = inspect.signature(method)

    def told(*given: Any, **named: Any) -> Any:
        step(_kind(name, signature.bind(*given, **named).arguments))
        return method(*given, **named)

    return told


def _kind(name: str, given: dict[str, Any]) -> str:
    if "sql" in given:
        # Names of tables that are made for a while, and other chance, make no other kind.
        text = re.sub(r"[0-9]+|_[0-9a-f]{8}\b|'[^']*'", "?", " ".join(given["sql"].split()))
        state = (given.get("parameters") or {}).get("state", "")
        return f"{text[:120]} {state}".strip()
    return f"{name} {Path(given['target']).parent.name}" if "target" in given else name


def changes(steps: list[str]) -> list[str]:
    """The kinds of steps that change something, in the order in which they first come. Between two
    of them it is all one where the victim is killed."""
    return [kind for kind in dict.fromkeys(steps) if not kind.startswith(("SELECT", "EXISTS"))]


def loading(db: str, options: str = "") -> str:
    """The work of loading the folder s into the table laion of ``db`` in batches of 25 rows;
    ``options`` as for Table.ingest. Its steps are statements."""
    return f"""
from cliphouse.engine.connection import Connection
from cliphouse.table import Table
from hooked import small_batches
crash.watch(step, Connection, "command", "query", "insert")
with Table({db!r}) as table:
    table.ingest("s", settings=small_batches(25){options})
"""


@dataclass(frozen=True)
class Victim:
    """``work``, Python that is run in ``folder``. It has ``step``, to call before its steps, and
    ``crash.watch``."""

    folder: Path
    work: str

    def steps(self) -> list[str]:
        """The kinds of the steps of a run that nobody kills."""
        said = self._run()
        assert said.returncode == 0, said.stderr
        return re.findall(r"^step (.*)$", said.stdout, re.MULTILINE)

    def kill_at(self, kind: str) -> bool:
        """Kill it at the first step of a kind; returns whether there was one."""
        return self._is_killed(kind)

    def kill_after(self, number: int, seconds: float) -> bool:
        """Kill it some time after a step; returns whether it was still at work."""
        return self._is_killed(number=number, after=seconds)

    def _is_killed(self, kind: str = "", number: int = 0, after: float = 0.0) -> bool:
        said = self._run(kind, number, after)
        assert said.returncode in (0, -signal.SIGKILL), said.stderr
        tally.count("kills", int(said.returncode != 0))
        return said.returncode != 0

    def _run(
        self, kind: str = "", number: int = 0, after: float = 0.0
    ) -> subprocess.CompletedProcess[str]:
        script = _VICTIM.format(tests=str(Path(__file__).parent), work=self.work)
        return subprocess.run(
            [*python(), "-c", script, kind, str(number), str(after)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
