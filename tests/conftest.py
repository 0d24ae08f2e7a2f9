"""Fixtures for all tests. An embedded engine holds one folder per process, so tables are closed."""

from __future__ import annotations

import os

# Tests run beside one another, and NumPy's threads, which spin while they wait, would take cores
# from the others. It is read when NumPy is imported, here and in processes that tests start.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import gc
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cliphouse
import tally
from forked import python, share
from standin.process import StandIn
from standin_cluster import TWO_SHARDS, StandInCluster

if TYPE_CHECKING:
    from browser import Chromium
    from page_data import PageData
    from serving import Drawn, Served

# No test reaches out: with a hub out of reach, fetching a model must fail at once and clearly.
os.environ["HF_HUB_OFFLINE"] = "1"
for name in [name for name in os.environ if name.startswith("CLIPHOUSE_")]:
    del os.environ[name]
# A run in the background of a shell ignores Ctrl-C, and so would every command that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The files with the longest tests, which begin first: one that begins last keeps a core idle.
LONGEST = (
    *("test_verify_server", "test_packaging", "test_readme", "test_cluster", "test_server"),
    *("test_ingest_crash", "test_server_failures", "test_leases", "test_slow_worker"),
)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, up to eight cores: tests wait for processes and for times."""
    return min(os.cpu_count() or 1, 8) + 1


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", 0):
        share()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_collection_finish() -> None:
    """What was imported and collected lives to the end: the garbage collector leaves it alone."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    tally.counted.clear()


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """What the test has counted goes into the report of the run."""
    passing = re.findall(r"(\d+) passing", getattr(item, "hypothesis_statistics", ""))
    tally.count("inputs", sum(map(int, passing)))
    item.user_properties.extend(tally.counted.items())


OpenTable = Callable[..., cliphouse.Table]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The one stand-in for a server that tests share, for what they load before they begin; each
    takes databases of its own there."""
    with StandIn(tmp_path_factory.mktemp("stand-in")) as started:
        yield started


@pytest.fixture
def server(stand_in: StandIn) -> Iterator[StandIn]:
    """The shared stand-in. Nothing goes wrong there but what the test has go wrong."""
    stand_in.clear()
    yield stand_in
    stand_in.clear()


@pytest.fixture
def url(server: StandIn) -> str:
    """The owner's address of an empty database on the shared stand-in."""
    return server.fresh_url()


@pytest.fixture(scope="session")
def two_shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInCluster]:
    """The one stand-in that tests share for the cluster ``two``: two shards, with Keeper."""
    with StandInCluster(tmp_path_factory.mktemp("two-shards"), **TWO_SHARDS) as started:
        yield started


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Drawn pictures and a database of them, which no test changes."""
    from serving import draw  # brings the web framework, which others do without

    return draw(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """For one module, since its event loop keeps others of the process from running."""
    from browser import chromium

    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def page_service(page_data: PageData) -> Iterator[Served]:
    """A service of all tables that the page's tests share. For one module, since it holds its
    database."""
    from page_data import serve_page_data

    with serve_page_data(page_data) as running:
        yield running


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
