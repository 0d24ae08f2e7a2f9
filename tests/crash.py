"""Killing a command at a chosen moment of its work."""

from __future__ import annotations

import subprocess
from pathlib import Path

from forked import python

# What a setup can do to have methods print a line whenever they are called: the steps of the work.
TELL = """
def tell(owner, *names):
    for name in names:
        def told(*given, method=getattr(owner, name), **named):
            print("step", flush=True)
            return method(*given, **named)
        setattr(owner, name, told)
"""


def run_and_kill(
    folder: Path, setup: str, arguments: list[str], after: float, steps: int = 0
) -> bool:
    """Start the command in ``folder`` and SIGKILL it ``after`` seconds of work, without imports.

    Returns whether it was still at it. ``setup`` is Python that makes its steps small enough for a
    kill to fall between them. With ``steps`` the seconds begin when it has printed so many lines:
    a kill then falls into the work however slow the machine is.
    """
    process = _start(folder, setup, arguments)
    assert process.stdout is not None
    for _ in range(steps):
        process.stdout.readline()
    try:
        _, said = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode == 0, said
    return False


def count_steps(folder: Path, setup: str, arguments: list[str]) -> int:
    """How many steps the command takes when nobody kills it."""
    process = _start(folder, setup, arguments)
    said, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    return said.splitlines().count(b"step")


def _start(folder: Path, setup: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    script = f"{setup}\nfrom cliphouse.cli.app import main; print('ready', flush=True); main()"
    process = subprocess.Popen(
        [*python(), "-c", script, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process
