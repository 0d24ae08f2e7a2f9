"""Whatever happens to a folder, after a sync the table is what a new one would be."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from cliphouse.engine.connection import Connection
from cliphouse.loading.sync import SyncOptions
from cliphouse.pictures.embed import EmbedOptions, EmbedSizes
from cliphouse.table import Table
from pictures_model import GARBAGE, assert_same, expected_rows, picture_bytes, table_rows

NAMES = [f"{folder}{name}" for folder in ("", "deep/", "other/") for name in ("red", "blue", "old")]
EMBED = EmbedOptions(sizes=EmbedSizes(shard=4, batch=2), allow_delete=True)
OPTIONS = SyncOptions(root="mine", embed=EMBED)
names, contents, numbers = st.sampled_from(NAMES), st.integers(0, 5), st.integers(0, 8)


class StopHereError(BaseException):
    """Stops a run where nothing expects it, as a kill does."""


class LivingFolder(RuleBasedStateMachine):
    """A folder of up to nine pictures, of six different contents, and a table that follows it."""

    database: Path
    counter = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.folder = self.place / "pictures 0"
        self.folder.mkdir()
        self.write([(name, number % 6) for number, name in enumerate(NAMES[:6])])
        self.table = Table(self.database, f"t{next(self.counter)}", model="tiny")
        self.is_made = False

    def path(self, name: str) -> Path:
        path = self.folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        return path

    @rule(given=st.lists(st.tuples(names, contents), min_size=1, max_size=5))
    def write(self, given: list[tuple[str, int]]) -> None:
        for name, content in given:
            self.path(name).write_bytes(picture_bytes(content))

    def chosen(self, number: int) -> Path | None:
        """One of the pictures that are there."""
        there = sorted(self.folder.rglob("*.png"))
        return there[number % len(there)] if there else None

    @rule(number=numbers, new=names)
    def rename(self, number: int, new: str) -> None:
        if path := self.chosen(number):
            path.rename(self.path(new))

    @rule(number=numbers, new=names)
    def copy(self, number: int, new: str) -> None:
        if (path := self.chosen(number)) and path != self.path(new):
            shutil.copy(path, self.path(new))

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
            path.write_bytes(GARBAGE)

    @rule()
    def move_root(self) -> None:
        moved = self.place / f"pictures {next(self.counter)}"
        self.folder = self.folder.rename(moved)

    @rule(step=st.integers(1, 25))
    def sync_killed(self, step: int) -> None:
        """At the given step: before a file gets its name, or a statement runs."""
        if not self.is_made and not list(self.folder.rglob("*.png")):
            return
        left = itertools.count(step, -1)

        def stopping(real: Callable[..., object]) -> Callable[..., object]:
            def call(*given: object, **named: object) -> object:
                if next(left) == 0:
                    raise StopHereError
                return real(*given, **named)

            return call

        with (
            suppress(StopHereError),
            patch.object(Path, "replace", stopping(Path.replace)),
            patch.object(Connection, "insert", stopping(Connection.insert)),
            patch.object(Connection, "command", stopping(Connection.command)),
        ):
            self.table.sync(self.folder, OPTIONS)

    @rule()
    def sync(self) -> None:
        wanted = expected_rows(self.folder)
        if not wanted and not self.is_made:
            return
        self.table.sync(self.folder, OPTIONS)
        self.is_made = True
        assert_same(table_rows(self.table), wanted)

    def teardown(self) -> None:
        """In the end each kind of change by itself, on what has come about."""
        self.sync()
        self.caption(0, "the last one")
        self.touch(1, 9)
        self.sync()
        self.rename(2, "deep/cold")
        self.delete([3])
        self.sync()
        self.table.close()
        shutil.rmtree(self.place)


def test_the_table_is_what_the_folder_is(tmp_path: Path) -> None:
    LivingFolder.database = tmp_path / "my.chdb"
    with Table(LivingFolder.database, "other", model="tiny") as keeps_the_engine_open:
        assert keeps_the_engine_open
        run_state_machine_as_test(
            LivingFolder,
            settings=settings(
                max_examples=4,
                stateful_step_count=12,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
