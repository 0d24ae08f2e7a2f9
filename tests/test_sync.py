"""A table that follows a folder of pictures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cliphouse.errors import PictureError, UserError
from cliphouse.loading.sync import SyncOptions
from cliphouse.pictures.embed import EmbedOptions, embed_folder
from cliphouse.shards.one_writer import no_writer, one_writer
from cliphouse.table import Table
from conftest import OpenTable, Run
from crash import Victim, changes
from forked import python
from pictures_model import (
    GARBAGE,
    TINY,
    assert_same,
    expected_rows,
    picture_bytes,
    table_rows,
)

NAMES = ("red", "blue", "green", "small", "large", "near", "far", "old", "new", "cold")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, name in enumerate(NAMES):
        (pictures / f"{name}.png").write_bytes(picture_bytes(number))
    (pictures / "red.txt").write_text("two red stars")
    return pictures


def change_all(folder: Path) -> None:
    """One change of each kind; seven of ten rows stay as they are or keep their vectors."""
    (folder / "red.txt").write_text("a caption that is new")
    (folder / "blue.png").write_bytes(picture_bytes(20))
    (folder / "green.png").unlink()
    (folder / "deep").mkdir()
    (folder / "small.png").rename(folder / "deep" / "tiny.png")
    os.utime(folder / "large.png", (10**9, 10**9))
    (folder / "near.png").write_bytes(GARBAGE)
    (folder / "added.png").write_bytes(picture_bytes(21))
    shutil.copy(folder / "far.png", folder / "copied.png")


def ids_by_path(table: Table) -> dict[str, int]:
    ids = table.sql("SELECT groupArray(id) AS ids FROM laion").to_pylist()[0]["ids"]
    return {row["url"]: row["id"] for row in table.items(ids)}


def test_a_table_follows_its_folder(folder: Path, open_table: OpenTable) -> None:
    table = open_table(model="tiny")
    first = table.sync(folder)
    assert (first.pictures.new, first.rows.inserted) == (10, 10)
    assert_same(table_rows(table), expected_rows(folder))
    ids = ids_by_path(table)
    change_all(folder)
    done = table.sync(folder)
    pictures = done.pictures
    assert (pictures.new, pictures.changed, pictures.renamed, pictures.gone) == (2, 2, 1, 1)
    assert [item.path.name for item in pictures.skipped] == ["near.png"]
    assert_same(table_rows(table), expected_rows(folder))
    after = ids_by_path(table)
    assert after[str(folder / "deep" / "tiny.png")] == ids[str(folder / "small.png")]
    assert after[str(folder / "blue.png")] == ids[str(folder / "blue.png")]
    again = table.sync(folder)
    assert (again.rows.inserted, again.rows.removed) == (0, 0)
    assert again.pictures.changes.is_none
    hit = table.search("a caption that is new", k=1, modality="text")[0]
    assert hit.url == str(folder / "red.png")
    assert table.check().is_good
    shards = folder.parent / "laion.chdb.shards" / "laion"
    assert table.check(shards).is_good


def test_embed_and_ingest_follow_a_folder_too(
    tmp_path: Path, folder: Path, open_table: OpenTable
) -> None:
    """Without --replace, and only the rows that differ."""
    table = open_table()
    embed_folder(folder, tmp_path / "s", TINY)
    table.ingest(tmp_path / "s")
    change_all(folder)
    embed_folder(folder, tmp_path / "s", TINY)
    report = table.ingest(tmp_path / "s")
    # Removed: a caption, a picture, a renamed one, a touched one, one that is gone, a damaged one.
    assert (report.removed, report.inserted) == (6, 6)
    assert report.loads[0].updated
    assert_same(table_rows(table), expected_rows(folder))
    embed_folder(folder, tmp_path / "s", TINY)
    assert table.ingest(tmp_path / "s").inserted == 0


def test_several_folders_and_other_shards_share_a_table(
    tmp_path: Path, folder: Path, open_table: OpenTable
) -> None:
    table = open_table()
    shutil.copytree(folder, tmp_path / "other")
    embed_folder(tmp_path / "other", tmp_path / "s", TINY)
    table.ingest(tmp_path / "s")
    shutil.copytree(folder, tmp_path / "second")
    table.sync(folder)
    table.sync(tmp_path / "second")
    wanted = {
        **expected_rows(folder),
        **expected_rows(tmp_path / "second"),
        **expected_rows(tmp_path / "other"),
    }
    assert_same(table_rows(table), wanted)
    (folder / "far.png").unlink()
    shutil.move(folder / "old.png", tmp_path / "second" / "older.png")
    table.sync(folder)
    table.sync(tmp_path / "second")
    wanted = {
        **expected_rows(folder),
        **expected_rows(tmp_path / "second"),
        **expected_rows(tmp_path / "other"),
    }
    assert_same(table_rows(table), wanted)


def test_a_folder_that_is_not_there_deletes_nothing(
    tmp_path: Path, folder: Path, open_table: OpenTable
) -> None:
    table = open_table(model="tiny")
    table.sync(folder)
    before = table_rows(table)
    folder.rename(tmp_path / "unplugged")
    with pytest.raises(PictureError, match="no such folder"):
        table.sync(folder)
    folder.mkdir()
    with pytest.raises(PictureError, match="10 of its 10 pictures are gone"):
        table.sync(folder)
    assert_same(table_rows(table), before)
    everything = SyncOptions(embed=EmbedOptions(allow_delete=True))
    table.sync(folder, everything)
    assert table_rows(table) == {}
    (folder / "back.png").write_bytes(picture_bytes(1))
    table.sync(folder)
    assert_same(table_rows(table), expected_rows(folder))


def test_a_dry_run_changes_nothing(folder: Path, run: Run) -> None:
    said = run("sync", "pictures", "--model", "tiny", "--dry-run")
    assert said.stdout.splitlines()[-1] == "10 new, 0 changed, 0 renamed, 0 gone, 0 unchanged"
    assert list(folder.parent.iterdir()) == [folder]
    said = run("sync", "pictures", "--model", "tiny", "--db", "my.chdb")
    assert said.stdout.splitlines() == [
        "10 new, 0 changed, 0 renamed, 0 gone, 0 unchanged",
        "10 pictures in table laion of my.chdb",
    ]
    change_all(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*.parquet")}
    said = run("sync", "pictures", "--db", "my.chdb", "--dry-run")
    here = folder.resolve()
    lines = {line.split(" ")[0]: line for line in said.stdout.splitlines()}
    assert lines["renamed"] == f"renamed  {here}/small.png to {here}/deep/tiny.png"
    assert lines["gone"] == f"gone     {here}/green.png"
    assert lines["caption"] == f"caption  {here}/red.png"
    assert {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*.parquet")} == before
    done = json.loads(run("sync", "pictures", "--db", "my.chdb", "--json").stdout)
    assert {name: done[name] for name in ("new", "changed", "renamed", "gone", "rows")} == {
        "new": 2,
        "changed": 2,
        "renamed": 1,
        "gone": 1,
        "rows": 10,
    }
    assert [item["kind"] for item in done["passed_over"]] == ["damaged"]


def test_the_second_of_two_says_who_the_first_is(folder: Path, open_table: OpenTable) -> None:
    table = open_table(model="tiny")
    with (
        one_writer(folder.parent / "laion.chdb.shards" / "laion", "sync"),
        pytest.raises(
            UserError, match=r"laion: sync on .*, process \d+, since .* is at work there"
        ),
    ):
        table.sync(folder)
    assert not (folder.parent / "laion.chdb.shards").exists()
    embed_folder(folder, folder.parent / "s", TINY)
    with (
        one_writer(folder.parent / "s", "embed"),
        pytest.raises(UserError, match=r"s: embed on .* is at work there; try again when it has"),
    ):
        table.ingest(folder.parent / "s")
    with no_writer(folder.parent / "s", "ingest"):
        table.ingest(folder.parent / "s")
        with pytest.raises(UserError, match=r"s: ingest on .* is at work there"):
            embed_folder(folder, folder.parent / "s", TINY)
    assert not list((folder.parent / "s").glob(".*"))


def test_the_second_of_two_may_wait(folder: Path) -> None:
    """Before it opens the database, which the first has open."""
    with one_writer(folder.parent / "laion.chdb.shards" / "laion", "sync"):
        second = subprocess.Popen(
            [*python(), "-m", "cliphouse", "sync", "pictures", "--model", "tiny", "--wait", "60"],
            cwd=folder.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert second.stderr.readline().startswith("waiting for sync on ")
        assert not (folder.parent / "laion.chdb").exists()
    said, _ = second.communicate(timeout=100)
    assert second.returncode == 0
    assert said.splitlines()[0].startswith("10 new")


def test_a_server_needs_a_folder_for_the_shards(
    tmp_path: Path, folder: Path, url: str, open_table: OpenTable
) -> None:
    table = open_table(url, model="tiny")
    with pytest.raises(UserError, match="give a folder for the shards of the pictures with --to"):
        table.sync(folder)
    options = SyncOptions(shards=tmp_path / "s")
    table.sync(folder, options)
    change_all(folder)
    table.sync(folder, options)
    assert_same(table_rows(table), expected_rows(folder))


_SYNC = """
from cliphouse.engine.connection import Connection
from cliphouse.table import Table
from pathlib import Path
crash.watch(step, Path, "replace")
crash.watch(step, Connection, "command", "insert")
with Table("my.chdb", model="tiny") as table:
    table.sync("pictures")
"""


def test_killed_at_any_step_the_next_run_goes_on(
    tmp_path: Path, folder: Path, open_table: OpenTable
) -> None:
    """At each kind of step that applies changes, with what the kill before has left."""
    victim = Victim(tmp_path, _SYNC)
    victim.steps()
    change_all(folder)
    for name in ("my.chdb", "my.chdb.shards"):
        shutil.copytree(tmp_path / name, tmp_path / f"{name}.before", symlinks=True)
    # Without claims and heartbeats, which every load has, and the engine's configuration.
    others = ("claimed", "renewed", "CREATE", "SYSTEM", "replace cliphouse-")
    kinds = [kind for kind in changes(victim.steps()) if not any(each in kind for each in others)]
    assert any(kind.startswith("DELETE FROM") for kind in kinds)
    assert any(kind.startswith("insert") for kind in kinds)
    for name in ("my.chdb", "my.chdb.shards"):
        shutil.rmtree(tmp_path / name)
        (tmp_path / f"{name}.before").rename(tmp_path / name)
    for kind in kinds:
        victim.kill_at(kind)
    table = open_table(tmp_path / "my.chdb")
    table.sync(folder)
    assert_same(table_rows(table), expected_rows(folder))
    assert table.check(tmp_path / "my.chdb.shards" / "laion").is_good
