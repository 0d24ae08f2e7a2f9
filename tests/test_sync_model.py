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

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from cliphouse.engine.connection import Connection
from cliphouse.loading.sync import SyncOptions
from cliphouse.pictures.embed import EmbedOptions, EmbedSizes
from cliphouse.table import Table
from pictures_model import GARBAGE, assert_same, expected_rows, picture_bytes, table_rows

NAMES = [f"{folder}{name}" for folder in ("", "deep/", "other/") for name in ("red", "blue", "old")]
OPTIONS = SyncOptions(embed=EmbedOptions(sizes=EmbedSizes(shard=4, batch=2), allow_delete=True))
names, contents = st.sampled_from(NAMES), st.integers(0, 5)


class StopHereError(BaseException):
    """Stops a run where nothing expects it, as a kill does."""


class LivingFolder(RuleBasedStateMachine):
    """A folder of up to nine pictures, of six different contents, and a table that follows it."""

    database: Path
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.folder = self.place / "pictures 0"
        self.folder.mkdir()
        self.table = Table(self.database, f"t{next(self.numbers)}", model="tiny")
        self.is_made = False

    def path(self, name: str, suffix: str = "png") -> Path:
        path = self.folder / f"{name}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        return path

    @rule(given=st.lists(st.tuples(names, contents), min_size=1, max_size=5))
    def write(self, given: list[tuple[str, int]]) -> None:
        for name, content in given:
            self.path(name).write_bytes(picture_bytes(content))

    @rule(name=names, new=names)
    def rename(self, name: str, new: str) -> None:
        if self.path(name).exists():
            self.path(name).rename(self.path(new))

    @rule(name=names, new=names)
    def copy(self, name: str, new: str) -> None:
        if self.path(name).exists() and name != new:
            shutil.copy(self.path(name), self.path(new))

    @rule(some=st.lists(names, min_size=1, max_size=3))
    def delete(self, some: list[str]) -> None:
        for name in some:
            self.path(name).unlink(missing_ok=True)

    @rule(name=names, second=st.integers(1, 3))
    def touch(self, name: str, second: int) -> None:
        if self.path(name).exists():
            os.utime(self.path(name), (second, second))

    @rule(name=names, text=st.sampled_from(["a caption", "another", None]))
    def caption(self, name: str, text: str | None) -> None:
        if text is None:
            self.path(name, "txt").unlink(missing_ok=True)
        else:
            self.path(name, "txt").write_text(text)

    @rule(name=names)
    def damage(self, name: str) -> None:
        self.path(name).write_bytes(GARBAGE)

    @rule()
    def move_root(self) -> None:
        moved = self.place / f"pictures {next(self.numbers)}"
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
                max_examples=12,
                stateful_step_count=14,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
