"""Copies of a database: folders copied without their links, and backups."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cliphouse.engine.address import FolderAddress
from cliphouse.engine.backup import back_up, restore
from cliphouse.engine.copied import find_lost_links, link_again
from cliphouse.errors import EngineError, TableError
from cliphouse.inspection.repair import link_folder_again
from cliphouse.table import Table
from conftest import Run
from shard_files import make_shard

_NEAREST = "SELECT id FROM laion ORDER BY cosineDistance(image_embedding, {q:Array(Float32)}), id"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards and a database of two tables and a second database."""
    folder = tmp_path_factory.mktemp("original")
    make_shard(folder / "s", 0, 200)
    with Table(folder / "laion.chdb") as table:
        table.ingest(folder / "s")
        table.index("image")
        table.sql("CREATE DATABASE `own one`")
        table.sql("CREATE TABLE `own one`.t (id Int64) ENGINE = MergeTree ORDER BY id")
        table.sql("INSERT INTO `own one`.t VALUES (42)")
    return folder


def holds_everything(folder: Path, original: Path) -> None:
    with Table(folder) as table:
        assert table.check(original / "s").findings == ()
        assert table.sql("SELECT id FROM `own one`.t").to_pylist() == [{"id": 42}]
        assert [hit.id for hit in table.search("id:7", k=1, mode="hnsw")] == [7]
        assert table.ingest(original / "s").inserted == 0


def followed(original: Path, copy: Path) -> None:
    shutil.copytree(original, copy)


def dropped(original: Path, copy: Path) -> None:
    shutil.copytree(original, copy, symlinks=True)
    for path in [path for path in copy.rglob("*") if path.is_symlink()]:
        path.unlink()


def as_text(original: Path, copy: Path) -> None:
    """As a zip or a repository has links, where the system knows none."""
    shutil.copytree(original, copy, symlinks=True)
    for path in [path for path in copy.rglob("*") if path.is_symlink()]:
        target = path.readlink()
        path.unlink()
        path.write_text(str(target))


@pytest.mark.parametrize("copy", [followed, dropped, as_text])
def test_a_copy_without_links_is_recognised_and_linked_again(
    original: Path, tmp_path: Path, copy: object
) -> None:
    folder = tmp_path / "e.chdb"
    copy(original / "laion.chdb", folder)  # type: ignore[operator]
    for use in (lambda: Table(folder).info, lambda: Table(folder).ingest(original / "s")):
        with pytest.raises(TableError, match=r"cliphouse check --repair --db .*e\.chdb links it"):
            use()
    assert link_folder_again(FolderAddress(folder, "e")) == 2
    assert find_lost_links(folder) == ()
    assert not [path for path in (folder / "data" / "default").iterdir() if not path.is_symlink()]
    holds_everything(folder, original)
    assert link_again(folder) == ()


def test_a_folder_as_the_engine_made_it_is_left_alone(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original / "laion.chdb", tmp_path / "same.chdb", symlinks=True)
    before = sorted(map(str, (tmp_path / "same.chdb").rglob("*")))
    assert find_lost_links(tmp_path / "same.chdb") == ()
    assert link_again(tmp_path / "same.chdb") == ()
    assert sorted(map(str, (tmp_path / "same.chdb").rglob("*"))) == before
    (tmp_path / "new.chdb").mkdir()
    assert find_lost_links(tmp_path / "new.chdb") == ()


def without_store(copy: Path) -> str:
    shutil.rmtree(copy / "store")
    return "store/"


def without_definitions(copy: Path) -> str:
    definitions = (copy / "metadata" / "default").resolve()
    shutil.rmtree(definitions)
    return f"{definitions.relative_to(copy)}/"


@pytest.mark.parametrize("lose", [without_store, without_definitions])
def test_a_copy_that_was_broken_off_says_what_it_lacks(
    original: Path, tmp_path: Path, lose: Callable[[Path], str]
) -> None:
    folder = tmp_path / "e.chdb"
    shutil.copytree(original / "laion.chdb", folder, symlinks=True)
    lost = lose(folder)
    before = sorted(map(str, folder.rglob("*")))
    assert link_folder_again(FolderAddress(folder, "e")) == 0
    for use in (lambda: Table(folder).info, lambda: Table(folder).ingest(original / "s")):
        with pytest.raises(TableError, match=f"e.chdb: lacks {lost}, the folder of its tables"):
            use()
    assert sorted(map(str, folder.rglob("*"))) == before


def test_reading_where_no_database_is_leaves_nothing(original: Path, tmp_path: Path) -> None:
    folder = tmp_path / "e.chdb"
    folder.mkdir()
    address = FolderAddress(folder, "e")
    for use in (lambda: Table(folder).info, lambda: back_up(address, tmp_path / "b.zip")):
        with pytest.raises(TableError, match="no database here"):
            use()
    assert list(tmp_path.rglob("*")) == [folder]
    with Table(folder) as table:
        assert table.ingest(original / "s").inserted == 200


def test_the_command_line_mends_a_copy(original: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(original / "laion.chdb", tmp_path / "laion.chdb")
    told = run("info")
    assert told.returncode == 2
    assert "a copy without the links of its original" in told.stderr
    mended = run("check", original / "s", "--repair")
    assert mended.returncode == 0, mended.stderr
    assert "2 links of the copied folder made" in mended.stderr
    assert "no errors" in mended.stdout


def test_a_backup_is_the_database(original: Path, tmp_path: Path, run: Run) -> None:
    told = run("backup", "b.zip", "--db", original / "laion.chdb")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("b.zip: ")
    assert "3 tables, " in told.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]
    assert "is there already" in run("backup", "b.zip", "--db", original / "laion.chdb").stderr
    made = run("restore", "b.zip", "--db", "c.chdb")
    assert made.returncode == 0, made.stderr
    assert "3 tables, " in made.stdout
    assert "is there already" in run("restore", "b.zip", "--db", "c.chdb").stderr
    holds_everything(tmp_path / "c.chdb", original)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "c.chdb"]


def test_a_damaged_backup_is_refused_and_leaves_nothing(original: Path, tmp_path: Path) -> None:
    source = FolderAddress(original / "laion.chdb", "laion.chdb")
    report = back_up(source, tmp_path / "b.zip")
    assert report.tables["laion"] == 200
    assert report.tables["own one.t"] == 1
    target = FolderAddress(tmp_path / "c.chdb", "c.chdb")
    data = bytearray((tmp_path / "b.zip").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "bad.zip").write_bytes(data)
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    for name, kind, reason in (
        ("bad.zip", EngineError, "bad.zip: "),
        ("cut.zip", EngineError, "cut.zip: not a readable .zip"),
        ("none.zip", TableError, "none.zip: no such file"),
        ("c.tar", TableError, "a backup is a .zip file"),
    ):
        with pytest.raises(kind, match=reason):
            restore(tmp_path / name, target)
    with pytest.raises(TableError, match=r"the folder .*none does not exist"):
        back_up(source, tmp_path / "none" / "b.zip")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["b.zip", "bad.zip", "cut.zip"]


def changed(file: Path) -> None:
    """Eight bytes in the middle, as a bad disk has them."""
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(byte ^ 0xA5 for byte in data[middle : middle + 8])
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "column", "told"),
    [
        (changed, "text_embedding", r"part (?P<part>\w+) of table laion is damaged \(Checksum"),
        (Path.unlink, "text_embedding", r"part broken-on-start_\w+ of table laion is damaged"),
        (changed, "data", r"part (?P<part>\w+) of table (`own one`\.t|laion_ledger) is damaged"),
    ],
)
def test_there_is_no_backup_of_a_damaged_database(
    original: Path, tmp_path: Path, harm: Callable[[Path], None], column: str, told: str
) -> None:
    folder = tmp_path / "laion.chdb"
    shutil.copytree(original / "laion.chdb", folder, symlinks=True)
    files = sorted((folder / "store").rglob(f"{column}.bin"))
    for file in files:
        harm(file)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(EngineError, match=f"^e: {told}.* DROP (DETACHED )?PART") as refused:
        back_up(FolderAddress(folder, "e"), tmp_path / "b.zip")
    found = re.search(told, str(refused.value))
    assert found
    assert found.groupdict().get("part") in {None, *(file.parent.name for file in files)}
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_backup_is_outside_of_a_database_with_tables(original: Path, tmp_path: Path) -> None:
    address = FolderAddress(original / "laion.chdb", "laion.chdb")
    with pytest.raises(TableError, match=r"in the database itself; name a file outside of laion"):
        back_up(address, original / "laion.chdb" / "store" / ".." / "b.zip")
    with Table(tmp_path / "none.chdb") as table:
        table.ingest(original / "s")
        table.drop()
    with pytest.raises(TableError, match="none: has no tables to back up"):
        back_up(FolderAddress(tmp_path / "none.chdb", "none"), tmp_path / "b.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["none.chdb"]
