"""Loads by processes as if each were on a machine of its own, stopped and killed on order."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

import tally
from forked import python

# A start on order, so that several begin together; batches of 25 rows; and a signal to itself
# before its Nth insert, which falls between its last look at the ledger and the rows' arrival
# (0: it waits there, alive).
_SETUP = """
import os, sys, threading
from cliphouse.cli.app import main
from cliphouse.engine.connection import Connection
from cliphouse.loading.lease import MACHINE, LeaseTimes
from cliphouse.loading.options import LoadSettings
from cliphouse.shards.reader import BatchLimits
machine, renew, dead, look, signal, number = sys.argv[1:7]
del sys.argv[1:7]
times = LeaseTimes(float(renew), float(dead), float(look))
insert, sent = Connection.insert, []
def insert_or_fall(*arguments):
    sent.append(0)
    if len(sent) == int(number):
        os.kill(os.getpid(), int(signal)) if int(signal) else threading.Event().wait()
    insert(*arguments)
Connection.insert = insert_or_fall
print(os.getpid(), flush=True)
sys.stdin.readline()
main(LoadSettings(BatchLimits(rows=25), times, machine or MACHINE))
"""


@dataclass(frozen=True)
class Ended:
    """A load that has ended: its exit code, its report (None without one), and what it said."""

    code: int
    report: dict[str, Any] | None
    said: str


class Load:
    """``cliphouse ingest`` in a process of its own; it begins with ``start``. At the end of the
    block it is killed, if it has not ended."""

    def __init__(
        self,
        folder: Path,
        server: str,
        *options: str,
        machine: str = "",
        renew: float = 30.0,
        dead: float = 300.0,
        look: float = 0.1,
        signal: int = 0,
        before_insert: int = 0,
    ) -> None:
        order = [machine, *(str(value) for value in (renew, dead, look, signal, before_insert))]
        command = ["ingest", "s", "--db", server, "--json", *options]
        self._process = subprocess.Popen(
            [*python(), "-c", _SETUP, *order, *command],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.process = int(self._process.stdout.readline())

    def start(self) -> Load:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self

    def wait_until_stopped(self) -> None:
        """Until it has stopped itself."""
        while _state(self.process) != "T":
            assert self._process.poll() is None

    def signal(self, number: int) -> None:
        os.kill(self.process, number)

    def hear(self, beginning: str) -> str:
        """The next line that it says with this beginning."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith(beginning):
                return str(line)
        raise AssertionError(f"it has ended without saying {beginning}")

    def end(self) -> Ended:
        out, said = self._process.communicate(timeout=120)
        tally.count("kills", int(self._process.returncode == -SIGKILL))
        report = json.loads(out) if out.startswith("{") else None
        return Ended(self._process.returncode, report, said)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(9)
            self.end()


def _state(process: int) -> str:
    """The state of a process, as in ps."""
    stat = Path(f"/proc/{process}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]
