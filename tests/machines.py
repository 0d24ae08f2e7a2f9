"""Loads by processes as if each were on a machine of its own, stopped and killed on order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Batches of 25 rows; a signal to itself before its Nth insert, which falls between its last look
# at the ledger and the rows' arrival (0: it waits there, alive); and a start on order, so that
# several begin together.
_SETUP = """
import os, sys, threading
from cliphouse.shards import reader
from cliphouse.loading import inserter, lease
reader.BATCH_ROWS = 25
machine, renew, dead, look, signal, number = sys.argv[1:7]
del sys.argv[1:7]
lease.MACHINE = machine or lease.MACHINE
lease.TIMES = lease.LeaseTimes(float(renew), float(dead), float(look))
insert, sent = inserter.Inserter._insert, []
def insert_or_fall(*arguments):
    sent.append(0)
    if len(sent) == int(number):
        os.kill(os.getpid(), int(signal)) if int(signal) else threading.Event().wait()
    insert(*arguments)
inserter.Inserter._insert = insert_or_fall
from cliphouse.cli.app import main
print('ready', flush=True)
sys.stdin.readline()
main()
"""


@dataclass(frozen=True)
class Ended:
    """A load that has ended: its exit code, its report (None without one), and what it said."""

    code: int
    report: dict[str, Any] | None
    said: str


class Load:
    """``cliphouse ingest`` in a process of its own; it begins with ``start``."""

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
            [sys.executable, "-c", _SETUP, *order, *command],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    @property
    def process(self) -> int:
        return self._process.pid

    def start(self) -> Load:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self

    def wait_until_stopped(self) -> None:
        """Until it has stopped itself."""
        _, status = os.waitpid(self.process, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def signal(self, number: int) -> None:
        os.killpg(self.process, number)

    def hear(self) -> str:
        """The next line that it says."""
        assert self._process.stderr is not None
        return self._process.stderr.readline()

    def end(self) -> Ended:
        out, said = self._process.communicate(timeout=120)
        report = json.loads(out) if out.startswith("{") else None
        return Ended(self._process.returncode, report, said)
