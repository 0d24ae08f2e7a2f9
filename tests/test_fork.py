"""A process that was forked after the engine had started gets an error, and never waits for it."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
from pathlib import Path

from cliphouse.table import Table
from forked import python
from shard_files import make_shard

# Asks the database in forks in several ways, and prints what each of them got.
_FORKS = """
import gc, json, multiprocessing, os, sys, time
import cliphouse
from cliphouse.errors import CliphouseError

fork = multiprocessing.get_context("fork")
folder = sys.argv[1]
table = cliphouse.open(folder, model="tiny")
table.search("id:3", k=2)

def asked(ask):
    def work(queue):
        try:
            queue.put(ask())
        except CliphouseError as error:
            queue.put(f"{type(error).__name__}: {error}")
    queue = fork.SimpleQueue()
    process = fork.Process(target=work, args=(queue,))
    process.start()
    process.join(20)
    process.kill()
    return None if queue.empty() else queue.get()

def let_go():
    global table
    table.close()
    del table
    gc.collect()
    return "let go"

def leave():  # as a program does that forks by itself, with the interpreter's clean-up
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)

answers = {
    "search": asked(lambda: str(table.search("id:3"))),
    "sql": asked(lambda: str(table.sql("SELECT 1"))),
    "open": asked(lambda: str(cliphouse.open(folder).info)),
    "another": asked(lambda: str(cliphouse.open(folder + "2").ingest(sys.argv[2]))),
    "let go": asked(let_go),
    "leave": leave(),
    "parent": [hit.id for hit in table.search("id:3", k=1)],
    "functions": len(table.sql("SELECT encode_text('a') AS v").column("v")[0]),
}
table.close()
answers["closed"] = asked(lambda: str(cliphouse.open(folder).info))
print(json.dumps(answers))
"""

# Forks that use the parent's connection to a server, beside one another and beside it.
_SHARED = """
import os, sys
import cliphouse

table = cliphouse.open(sys.argv[1])
table.sql("SET max_threads = 1")

def ask(number):
    return all(table.sql(f"SELECT {number} AS x").to_pylist() == [{"x": number}] for _ in range(20))

children = []
for number in range(1, 4):
    children.append(os.fork())
    if children[-1] == 0:
        os._exit(0 if ask(number) else 1)
mine = ask(0)
print(mine, [os.waitpid(child, 0)[1] for child in children])
"""


def test_a_fork_gets_one_error_at_once(tmp_path: Path) -> None:
    make_shard(tmp_path / "s", rows=20)
    with Table(tmp_path / "laion.chdb") as table:
        table.ingest(tmp_path / "s")
    done = subprocess.run(
        [*python(), "-c", _FORKS, str(tmp_path / "laion.chdb"), str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for way in ("search", "sql", "open", "another", "closed"):
        assert "this process was forked from one that has used the embedded engine" in answers[way]
        assert "multiprocessing.get_context('spawn')" in answers[way]
    assert answers["let go"] == "let go"
    assert answers["leave"] == 7
    assert (answers["parent"], answers["functions"]) == ([3], 512)


def _nearest(place: tuple[str, int]) -> list[int]:
    folder, row = place
    with Table(folder) as table:
        return [hit.id for hit in table.search(f"id:{row}", k=2)]


def test_a_spawned_process_works(tmp_path: Path) -> None:
    make_shard(tmp_path / "s", rows=20)
    with Table(tmp_path / "laion.chdb") as table:
        table.ingest(tmp_path / "s")
        expected = [[hit.id for hit in table.search(f"id:{row}", k=2)] for row in (3, 9)]
    places = [(str(tmp_path / "laion.chdb"), row) for row in (3, 9)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_nearest, places) == expected


def test_forks_share_no_connection_to_a_server(url: str) -> None:
    done = subprocess.run(
        [*python(), "-c", _SHARED, url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "True [0, 0, 0]\n", done.stderr
