"""Every step on a disk that fills up, or that is read-only: one line says so, no half file is left,
and it can go on."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tally
from cliphouse.demo import Demo
from cliphouse.errors import CliphouseError
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.passed_over import PassedOver, write_report
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.shards.disk import DiskError
from cliphouse.shards.one_writer import one_writer
from cliphouse.table import Table
from shard_files import make_shard

# Runs commands on a small disk that this process and its children alone see: each on a disk that is
# read-only, on one that is as good as full, and again on one that has room. The commands are forks,
# which have all imported.
_SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
import cliphouse.cli.app, clickhouse_connect, numpy, pyarrow.parquet, rich.progress

disk = Path(sys.argv[1])
steps = json.loads(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", disk], check=True)

def resize(size):
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)

def files():
    found = (path for path in disk.rglob("*") if path.is_file() and "laion.chdb" not in path.parts)
    return sorted(str(path.relative_to(disk)) for path in found)

def run(words):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 2)
        os.dup2(write, 1)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", 1)
        sys.argv = ["cliphouse", *words]
        cliphouse.cli.app.main()
    os.close(write)
    said = open(read).read()
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said, files()]

told = []
for free, words in steps:
    before = files()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    locked = run(words)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    state = os.statvfs(disk)
    resize(f"{(state.f_blocks - state.f_bfree) * state.f_bsize // 1024 + free}k")
    full = run(words)
    resize("256m")
    told.append([before, locked, full, run(words)])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each step said and left, by its name."""
    folder = tmp_path_factory.mktemp("full")
    write_pictures(folder / "pictures", 12, seed=1)
    make_shard(folder / "s", 0, 3000, 64)
    with Table(folder / "laion.chdb") as table:
        table.ingest(folder / "s")
        table.index(IndexSpec(m=4, ef_construction=16))
    disk = folder / "disk"
    disk.mkdir()
    here, there = f"--db={folder / 'laion.chdb'}", f"--db={disk / 'laion.chdb'}"
    own = ["--model=tiny", f"--db={disk}/own/laion.chdb"]
    steps: dict[str, tuple[int, list[str]]] = {
        "embed": (12, ["embed", f"{folder}/pictures", f"--to={disk}/made", "--model=tiny"]),
        "sync": (900, ["sync", f"{folder}/pictures", f"--to={disk}/synced", *own]),
        "ingest": (900, ["ingest", f"{folder}/s", there]),
        "index": (900, ["index", "image", "--m=4", "--ef-construction=16", "--no-measure", there]),
        "recall": (0, ["recall", "image", "-k", "5", "--queries", "30", "--save", there]),
        # Not a byte is free: not even for the name of who has the lock.
        "export with no room at all": (0, ["export", f"{disk}/sh", "--format=shards", here]),
        "export": (200, ["export", f"{disk}/x", "--format=csv", here]),
        "search": (20, ["search", "id:3", "-k", "1000", "-o", f"{disk}/r.json", here]),
        "backup": (400, ["backup", f"{disk}/b.zip", here]),
        "backup with no room at all": (0, ["backup", f"{disk}/none.zip", here]),
        "restore": (400, ["restore", f"{folder}/b.zip", f"--db={disk}/again"]),
    }
    subprocess.run(
        [sys.executable, "-m", "cliphouse", "backup", str(folder / "b.zip"), here], check=True
    )
    done = subprocess.run(
        [*_alone(), sys.executable, "-c", _SCRIPT, str(disk), json.dumps(list(steps.values()))],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tally.count("full disks", len(steps))
    return dict(zip(steps, json.loads(done.stdout), strict=True))


def _alone() -> list[str]:
    """What runs a command where it may mount a disk that no other process sees."""
    command = ["unshare", "--map-root-user", "--mount"]
    allowed = (
        shutil.which("unshare") and not subprocess.run([*command, "true"], check=False).returncode
    )
    if not allowed:
        pytest.skip("no right to mount a disk; test_shard_writer.py has failing writes")
    return command


STEPS = (
    *("embed", "sync", "ingest", "index", "recall", "export", "search", "backup"),
    *("backup with no room at all", "restore", "export with no room at all"),
)


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_costs_no_more_than_room(told: dict[str, Any], step: str) -> None:
    before, _, (code, said, left), (again, said_again, _) = told[step]
    assert code == 1, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("cliphouse: ")
    assert "disk" in last
    assert "is full" in last
    assert "make room, and run the same command again" in last
    # The manifest, and the batches and shards that are finished, are whole and gone on with.
    whole = ("made/unfinished/", "made/cliphouse.json", "synced/")
    assert [name for name in left if not name.startswith(whole) and name not in before] == []
    assert set(before) <= set(left)
    assert not [name for name in left if name.endswith(".part")]
    assert again == 0, said_again


@pytest.mark.parametrize("step", STEPS)
def test_a_read_only_disk_is_named(told: dict[str, Any], step: str) -> None:
    before, (code, said, left), _, (again, said_again, _) = told[step]
    assert code in (1, 2), said
    (line,) = [line for line in said.strip().splitlines() if line.startswith("cliphouse: ")]
    assert "disk" in line
    assert "ead-only file system" in line or "cannot be written to" in line
    assert "internal error" not in line
    assert "/." not in line.partition(" (")[0]  # no hidden file of cliphouse's own
    assert left == before
    assert again == 0, said_again


FULL, LOCKED = OSError(errno.ENOSPC, "No space left"), OSError(errno.EROFS, "Read-only")


def failing(error: OSError) -> Callable[..., Any]:
    def fail(*given: object, **named: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("function", "error", "told"),
    [
        ("pwrite", FULL, "the disk is full"),
        ("open", LOCKED, "cannot be written"),
    ],
)
def test_what_was_given_is_named_and_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: OSError, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for is_file in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(f"os.{function}", failing(error))
            with (
                pytest.raises(CliphouseError, match=f"^new/s: {told}"),
                one_writer(Path("new/s"), "export", is_file=is_file),
            ):
                pass
        assert list(tmp_path.iterdir()) == []


def test_the_demo_and_the_report_name_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cliphouse.pictures.drawn.write_pictures", failing(FULL))
    with pytest.raises(DiskError, match=f"^{tmp_path}/pictures: the disk is full"):
        Demo(tmp_path).draw(lambda done, total: None)
    with pytest.raises(DiskError, match=r"^/dev/full: the disk is full"):
        write_report([PassedOver(tmp_path, "empty")], Path("/dev/full"))
    write_report([PassedOver(Path("a\udcff"), "x, y")], tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_bytes() == b'kind,path,reason\r\ndamaged,a\\udcff,"x, y"\r\n'
