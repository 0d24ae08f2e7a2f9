"""docs/commands.md is the help of the commands, and of no others."""

from __future__ import annotations

import subprocess
from pathlib import Path

from forked import python

ROOT = Path(__file__).parents[1]


def test_the_command_page_is_up_to_date(tmp_path: Path) -> None:
    """If this fails, run: make docs"""
    written = tmp_path / "commands.md"
    command = [*python(), "-m", "typer", "cliphouse.cli.app", "utils", "docs"]
    command += ["--name", "cliphouse", "--output", str(written)]
    subprocess.run(command, check=True, capture_output=True)
    assert (ROOT / "docs" / "commands.md").read_text() == written.read_text()
