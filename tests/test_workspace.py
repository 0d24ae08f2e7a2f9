"""Temporary folders: of processes that are gone they are removed, of others never."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cliphouse.engine.workspace import make_workspace, remove_workspace


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_folder_of_an_ended_process_is_removed_unless_it_is_held(tmp_path: Path) -> None:
    """Containers that share a temporary folder do not see one another's processes."""
    left = tmp_path / f"cliphouse-{ended()}-left"
    held = tmp_path / f"cliphouse-{ended()}-held"
    own = tmp_path / f"cliphouse-{os.getpid()}-other"
    for folder in (left, held, own):
        folder.mkdir()
        (folder / "shard.npy").write_bytes(b"x")
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    made = make_workspace()
    assert not left.exists()
    assert (held / "shard.npy").exists()
    assert (own / "shard.npy").exists()
    os.close(descriptor)
    remove_workspace(made)
    remove_workspace(make_workspace())
    assert not held.exists()
    assert [path.name for path in tmp_path.iterdir()] == [own.name]


def test_a_folder_is_held_from_its_making_to_its_end(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    made = make_workspace()
    assert made.name.startswith(f"cliphouse-{os.getpid()}-")
    descriptor = os.open(made, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    remove_workspace(made)
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before
