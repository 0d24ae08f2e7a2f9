"""Killing the real command at a chosen moment of its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def run_and_kill(folder: Path, setup: str, arguments: list[str], after: float) -> bool:
    """Start the command in ``folder`` and SIGKILL it ``after`` seconds of work, without imports.

    Returns whether it was still at it. ``setup`` is Python that makes its steps small enough for a
    kill to fall between them.
    """
    script = f"{setup}; from cliphouse.cli import main; print('ready', flush=True); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        _, said = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    assert process.returncode == 0, said
    return False
