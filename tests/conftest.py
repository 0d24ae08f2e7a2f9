"""Fixtures for all tests. An embedded engine holds one folder per process, so tables are closed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cliphouse
from forked import python

if TYPE_CHECKING:
    from page_data import PageData

# No test reaches out: with a hub out of reach, fetching a model must fail at once and clearly.
os.environ["HF_HUB_OFFLINE"] = "1"
for name in [name for name in os.environ if name.startswith("CLIPHOUSE_")]:
    del os.environ[name]
# A run in the background of a shell ignores Ctrl-C, and so would every command that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

OpenTable = Callable[..., cliphouse.Table]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def page_data(tmp_path_factory: pytest.TempPathFactory) -> PageData:
    """The tables that the search page's tests share; none of them writes there."""
    from page_data import make_page_data  # brings the web framework, which others do without

    return make_page_data(tmp_path_factory.mktemp("page"))


@pytest.fixture
def open_table(tmp_path: Path) -> Iterator[OpenTable]:
    """Opens tables (by default in tmp_path/laion.chdb) and closes them at the end."""
    opened: list[cliphouse.Table] = []

    def open_one(db: Path | None = None, **options: str) -> cliphouse.Table:
        opened.append(cliphouse.open(db or tmp_path / "laion.chdb", **options))
        return opened[-1]

    yield open_one
    for table in opened:
        table.close()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command in tmp_path, as a process of its own."""

    def run_one(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*python(), "-m", "cliphouse", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )

    return run_one
