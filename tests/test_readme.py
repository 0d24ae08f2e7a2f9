"""Every command in the README and the docs is one that runs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cliphouse.cli.app import app
from conftest import Run
from forked import python

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(
    r"(<!-- needs a (?:download|service|terminal) -->\n)?```(sh|python)\n(.*?)```", re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A block of commands of a page, by its language. ``is_offline``: it runs as it stands, with
    no download and no service."""

    page: str
    language: str
    is_offline: bool
    text: str

    @property
    def commands(self) -> list[list[str]]:
        lines = (shlex.split(line, comments=True) for line in self.text.splitlines())
        return [line for line in lines if line]


BLOCKS = [
    Block(page.name, language, not marked, text)
    for page in PAGES
    for marked, language, text in _BLOCK.findall(page.read_text())
]


def is_a_synopsis(command: list[str]) -> bool:
    """``cliphouse search QUERY [-k 10]`` describes a command; it is none."""
    return any(word.startswith("[") or word in ("QUERY", "DIR...") for word in command)


def help_code(arguments: list[str]) -> int:
    """The exit code with --help, which comes after all options were read: it is 2 if one of them is
    unknown."""
    return CliRunner().invoke(app, [*arguments, "--help"]).exit_code


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make demo`` leaves, with fewer pictures."""
    folder = tmp_path_factory.mktemp("readme")
    command = [*python(), "-m", "cliphouse", "demo", "--dir", "demo", "--rows", "100"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def test_there_are_blocks() -> None:
    assert sum(block.page == "README.md" for block in BLOCKS) >= 6


@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_every_offline_command_runs(page: str, demo: Path, tmp_path: Path, run: Run) -> None:
    blocks = [block for block in BLOCKS if (block.page, block.language) == (page, "sh")]
    if any(block.is_offline for block in blocks):
        shutil.copytree(demo, tmp_path, symlinks=True, dirs_exist_ok=True)
    for block in blocks:
        for command in block.commands:
            if command[0] == "make":
                subprocess.run([*command, "--dry-run"], cwd=ROOT, check=True, capture_output=True)
            elif is_a_synopsis(command):
                assert help_code([command[1]]) == 0
            elif block.is_offline:
                assert command[0] == "cliphouse", command
                result = run(*command[1:])
                assert result.returncode == 0, (command, result.stderr)
                assert result.stdout, command
            else:  # at least its options must be ones the command knows
                assert help_code(command[1:]) == 0, command


def test_unknown_options_are_known_to_be_so() -> None:
    assert help_code(["search", "a star", "--k", "3"]) == 2


def test_the_python_runs(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo, tmp_path, symlinks=True, dirs_exist_ok=True)
    pages = ("README.md", "python.md")
    blocks = [b for b in BLOCKS if b.language == "python" and b.page in pages]
    assert len(blocks) >= len(pages)
    for block in blocks:
        result = subprocess.run(
            [*python(), "-c", block.text],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert "red" in result.stdout
        assert "100" in result.stdout
