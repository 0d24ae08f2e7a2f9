"""Whatever happens to two folders, after a sync the table is what a new one would be."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from cliphouse.loading.sync import SyncOptions
from cliphouse.pictures.embed import EmbedOptions, EmbedSizes
from cliphouse.table import Table
from crash import Victim
from forked import python
from pictures_model import (
    GARBAGE,
    assert_same,
    expected_rows,
    picture_bytes,
    table_rows,
)

NAMES = [f"{folder}{name}" for folder in ("", "deep/", "other/") for name in ("red", "blue", "old")]
ROOTS = ("mine", "yours")
names, contents, numbers = st.sampled_from(NAMES), st.integers(0, 5), st.integers(0, 8)
roots = st.integers(0, 1)
SIZES = "EmbedSizes(shard=8, batch=4)"
EMBED = EmbedOptions(sizes=EmbedSizes(shard=8, batch=4), allow_delete=True)
# A sync in a process of its own; at its steps a file gets its name, or a statement runs.
SYNC = """
from pathlib import Path
from cliphouse.engine.connection import Connection
from cliphouse.loading.sync import SyncOptions
from cliphouse.pictures.embed import EmbedOptions, EmbedSizes
from cliphouse.table import Table
embed = EmbedOptions(sizes={sizes}, allow_delete=True, wait=100)
{watch}
with Table({database!r}, {table!r}, model="tiny", wait=100) as table:
    table.sync({folder!r}, SyncOptions(root={root!r}, embed=embed))
"""
WATCH = """
crash.watch(step, Path, "replace")
crash.watch(step, Connection, "insert", "command")
"""


class LivingFolders(RuleBasedStateMachine):
    """Two folders of up to nine pictures each, of six different contents, and a table of which they
    are roots."""

    database: Path
    counter = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.folders = [self.place / f"{root} 0" for root in ROOTS]
        for folder in self.folders:
            folder.mkdir()
        self.name = f"t{next(self.counter)}"
        self.table: Table | None = None
        self.is_made = False
        self.known: set[str] | None = set()
        self.write(0, [(name, number % 6) for number, name in enumerate(NAMES[:6])])
        self.write(1, [(name, number % 6) for number, name in enumerate(NAMES[4:8])])

    def path(self, root: int, name: str) -> Path:
        path = self.folders[root] / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        return path

    @rule(root=roots, given=st.lists(st.tuples(names, contents), min_size=1, max_size=5))
    def write(self, root: int, given: list[tuple[str, int]]) -> None:
        for name, content in given:
            self.path(root, name).unlink(missing_ok=True)  # it may be unreadable
            self.path(root, name).write_bytes(picture_bytes(content))

    def chosen(self, number: int) -> Path | None:
        """One of the pictures that are there."""
        there = sorted(self.place.rglob("*.png"))
        return there[number % len(there)] if there else None

    @rule(number=numbers, root=roots, new=names)
    def rename(self, number: int, root: int, new: str) -> None:
        """Within a folder, or into the other one."""
        if path := self.chosen(number):
            path.rename(self.path(root, new))

    @rule(number=numbers, root=roots, new=names)
    def copy(self, number: int, root: int, new: str) -> None:
        to = self.path(root, new)
        if (path := self.chosen(number)) and path != to and os.access(path, os.R_OK):
            to.unlink(missing_ok=True)
            shutil.copy(path, to)

    @rule(some=st.lists(numbers, min_size=1, max_size=3))
    def delete(self, some: list[int]) -> None:
        for number in some:
            if path := self.chosen(number):
                path.unlink()

    @rule(number=numbers, second=st.integers(1, 3))
    def touch(self, number: int, second: int) -> None:
        if path := self.chosen(number):
            os.utime(path, (second, second))

    @rule(number=numbers, text=st.sampled_from(["a caption", "another", None]))
    def caption(self, number: int, text: str | None) -> None:
        if path := self.chosen(number):
            if text is None:
                path.with_suffix(".txt").unlink(missing_ok=True)
            else:
                path.with_suffix(".txt").write_text(text)

    @rule(number=numbers)
    def damage(self, number: int) -> None:
        if path := self.chosen(number):
            path.unlink()
            path.write_bytes(GARBAGE)

    @rule(number=numbers)
    def take_rights(self, number: int) -> None:
        """Nobody may read it. Root may all the same, so for root it is damaged instead."""
        if path := self.chosen(number):
            path.chmod(0)
            if os.access(path, os.R_OK):
                path.write_bytes(GARBAGE)

    @rule(root=roots)
    def move_root(self, root: int) -> None:
        moved = self.place / f"{ROOTS[root]} {next(self.counter)}"
        self.folders[root] = self.folders[root].rename(moved)

    def script(self, root: int, watch: str = "") -> str:
        """A sync of one of the folders."""
        return SYNC.format(
            sizes=SIZES,
            watch=watch,
            database=str(self.database),
            table=self.name,
            folder=str(self.folders[root]),
            root=ROOTS[root],
        )

    def may_sync(self, root: int) -> bool:
        """A first sync needs a picture."""
        return self.is_made or bool(expected_rows(self.folders[root]))

    @rule(root=roots, step=st.integers(1, 25))
    def sync_killed(self, root: int, step: int) -> None:
        """By SIGKILL, before the given step."""
        if self.may_sync(root):
            self.let_go()
            Victim(self.place, self.script(root, WATCH)).kill_after(step, 0)

    @rule(root=roots, other=roots)
    def sync_twice_at_once(self, root: int, other: int) -> None:
        """Both of one folder, or each of its own. Which ends last is chance."""
        if not (self.may_sync(root) and self.may_sync(other)):
            return
        self.let_go()
        running = [
            subprocess.Popen([*python(), "-c", self.script(each)], cwd=self.place)
            for each in (root, other)
        ]
        assert [process.wait(120) for process in running] == [0, 0]
        self.check({root, other})

    @rule(root=roots)
    def sync(self, root: int) -> None:
        if not self.may_sync(root):
            return
        self.open().sync(self.folders[root], SyncOptions(root=ROOTS[root], embed=EMBED))
        self.check({root})

    def open(self) -> Table:
        self.table = self.table or Table(self.database, self.name, model="tiny")
        return self.table

    def let_go(self) -> None:
        """Let other processes have the database, which may change what is known of it."""
        if self.table is not None:
            self.table.close()
        self.table, self.known = None, None

    def check(self, synced: set[int]) -> None:
        """The rows of the folders that are ``synced`` are those of their files, and the other one
        has none that it had not before."""
        self.is_made = True
        found = table_rows(self.open())
        others = set(found)
        for root in synced:
            inside = f"{self.folders[root]}/"
            mine = {path: row for path, row in found.items() if path.startswith(inside)}
            assert_same(mine, expected_rows(self.folders[root]))
            others -= mine.keys()
        assert self.known is None or others <= self.known
        self.known = set(found)

    def teardown(self) -> None:
        """In the end each kind of change by itself, on what has come about."""
        self.sync(0)
        self.caption(0, "the last one")
        self.touch(1, 9)
        self.rename(2, 0, "deep/cold")
        self.delete([3])
        self.sync_killed(1, 9)
        self.sync_twice_at_once(0, 1)
        self.let_go()
        shutil.rmtree(self.place)


def test_the_table_is_what_the_folders_are(tmp_path: Path) -> None:
    LivingFolders.database = tmp_path / "my.chdb"
    run_state_machine_as_test(
        LivingFolders,
        settings=settings(
            max_examples=3,
            stateful_step_count=10,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
