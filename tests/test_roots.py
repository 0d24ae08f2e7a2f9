"""Several folders in one table: each is a root, with a name and a place that may change."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cliphouse.cli.app import app
from cliphouse.client import Client
from cliphouse.errors import PictureError, TableError, UserError
from cliphouse.loading.sync import SyncOptions
from cliphouse.pictures.embed import EmbedOptions, EmbedReport, embed_folder, follow_folder
from cliphouse.pictures.roots import RootWish
from cliphouse.schema.info import TableInfo
from cliphouse.search.request import Request
from cliphouse.server.settings import ServeSettings
from cliphouse.shards.manifest import read_manifest
from cliphouse.shards.roots import Root, local_urls, name_for
from cliphouse.table import Table
from conftest import OpenTable
from pictures_model import TINY, assert_same, expected_rows, picture_bytes, table_rows
from serving import serving
from test_versions import comment, set_comment


def write(folder: Path, **contents: int) -> Path:
    """A folder with pictures, which are numbers of `picture_bytes`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in contents.items():
        (folder / f"{name}.png").write_bytes(picture_bytes(number))
    return folder


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return write(tmp_path / "one" / "pictures", red=0, blue=1, green=2, small=3)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """It has the name of the first folder, a path that is there too, and a picture of its."""
    return write(tmp_path / "two" / "pictures", red=10, far=1, near=12)


class Shards:
    """The shards that follow folders as roots: what sync does before it loads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def follow(
        self, folder: Path, name: str | None = None, moved_from: Path | None = None
    ) -> EmbedReport:
        options = EmbedOptions(moved_from=moved_from)
        return follow_folder(folder, self.folder, TINY, None, options, 0, RootWish(name))

    @property
    def places(self) -> dict[str, str]:
        return {root.name: root.place for root in read_manifest(str(self.folder)).roots}

    @property
    def urls(self) -> dict[str, int]:
        """The number of each row, by url."""
        (path,) = (self.folder / "metadata").glob("*.parquet")
        rows = pq.read_table(path).to_pylist()
        return {row["image_path"]: row["shard_row"] for row in rows}


@pytest.fixture
def shards(tmp_path: Path, first: Path, second: Path) -> Shards:
    made = Shards(tmp_path / "shards")
    made.follow(first)
    made.follow(second)
    return made


def urls(table: Table) -> set[str]:
    return {row["url"] for row in table.sql(f"SELECT url FROM {table.name}").to_pylist()}


def places(table: Table) -> dict[str, str]:
    return {root.name: root.place for root in table.info.roots}


def ask(*arguments: object, code: int = 0) -> str:
    """What a command prints; its errors too if it ends with another code than 0."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return f"{result.output}{result.exception}" if code else result.stdout


def test_two_folders_are_two_roots(
    tmp_path: Path, first: Path, second: Path, open_table: OpenTable
) -> None:
    """Each row has its own url in SQL, and the path of its file wherever it leaves the table."""
    table = open_table(model="tiny")
    table.sync(first)
    table.sync(second)
    assert places(table) == {"pictures": str(first), "pictures 2": str(second)}
    wanted = expected_rows(first) | expected_rows(second)
    assert_same(table_rows(table), wanted)
    assert {"root:pictures/red.png", "root:pictures 2/red.png"} < urls(table)
    sizes = {root.name: (root.rows, root.is_there) for root in table.summary().roots}
    assert sizes == {"pictures": (4, True), "pictures 2": (3, True)}
    assert {hit.url for hit in table.search("a star", k=9)} == set(wanted)
    one_root = table.search("a star", k=9, where="url LIKE 'root:pictures/%'")
    assert {hit.url for hit in one_root} == {str(path) for path in first.glob("*.png")}
    (group,) = table.duplicates(0.9999)
    assert [row.url for row in group.rows] == [str(first / "blue.png"), str(second / "far.png")]
    assert {example.url for example in table.statistics().examples} <= set(wanted)
    table.export(tmp_path / "all.parquet", "parquet", where="url NOT LIKE '%/near.png'")
    exported = set(pq.read_table(tmp_path / "all.parquet").column("url").to_pylist())
    assert exported == set(wanted) - {str(second / "near.png")}
    table.export(tmp_path / "all.jsonl", "jsonl", where="url = 'root:pictures/red.png'")
    (line,) = (tmp_path / "all.jsonl").read_text().splitlines()
    assert json.loads(line)["url"] == str(first / "red.png")
    table.export(tmp_path / "csv", "csv")
    assert str(second / "far.png") in (tmp_path / "csv" / "0.csv").read_text()
    for number, folder in enumerate((first, second)):
        folder.rename(tmp_path / str(number))
    with pytest.raises(PictureError, match=r"not there, or empty; the rows stay.*--root pictures="):
        next(table.sync_roots())
    assert {each.missing for each in table.search("a star", k=9)} == {True}


def test_a_root_that_is_not_there_loses_nothing(
    tmp_path: Path, shards: Shards, first: Path, second: Path
) -> None:
    """Neither its own rows, nor one to the same picture elsewhere."""
    before = shards.urls
    first.rename(tmp_path / "unplugged")
    with pytest.raises(PictureError, match="no such folder"):
        shards.follow(first)
    shutil.copy(tmp_path / "unplugged" / "green.png", second / "copied.png")
    assert shards.follow(second).new == 1
    first.mkdir()  # as a disk's place is there without the disk
    shutil.copy(tmp_path / "unplugged" / "small.png", second / "copied too.png")
    assert shards.follow(second).new == 1
    with pytest.raises(PictureError, match="4 of its 4 pictures are gone"):
        shards.follow(first)
    assert before.items() < shards.urls.items()


def test_a_picture_that_moves_to_another_root_keeps_its_row(
    shards: Shards, first: Path, second: Path
) -> None:
    """If the root that it is moved to is synced first."""
    number = shards.urls["root:pictures/green.png"]
    shutil.move(first / "green.png", second / "leaf.png")
    assert shards.follow(second).renamed == 1
    assert shards.follow(first).changes.is_none
    assert shards.urls["root:pictures 2/leaf.png"] == number


def test_a_root_that_has_moved_changes_no_row(tmp_path: Path, shards: Shards, second: Path) -> None:
    before = shards.urls
    moved = second.rename(tmp_path / "elsewhere")
    done = shards.follow(moved, "pictures 2")
    assert (done.moved_from, done.changes.is_none) == (str(second), True)
    assert shards.places["pictures 2"] == str(moved)
    again = moved.rename(tmp_path / "recognised")  # without a word: its files are known
    assert shards.follow(again).root == Root("pictures 2", str(again))
    last = again.rename(tmp_path / "told")
    for number, path in enumerate(last.glob("*.png")):
        path.write_bytes(picture_bytes(20 + number))
    assert shards.follow(last, moved_from=again).changed == 3
    assert shards.places["pictures 2"] == str(last)
    assert shards.urls == before


def test_another_folder_is_not_the_moved_root(tmp_path: Path, shards: Shards, second: Path) -> None:
    """Neither by itself, nor if somebody says so."""
    other = write(tmp_path / "three", young=20, old=21)
    with pytest.raises(PictureError, match=r"root pictures 2 was .*two/pictures, and 3 of its 3"):
        shards.follow(other, "pictures 2")
    second.rename(tmp_path / "away")
    shards.follow(other)
    assert set(shards.places) == {"pictures", "pictures 2", "three"}
    assert len(shards.urls) == 9


def test_a_part_of_a_root_and_one_around_others(
    tmp_path: Path, shards: Shards, first: Path
) -> None:
    numbers = set(shards.urls.values())
    deep = write(first / "deep", new=20)
    done = shards.follow(deep)
    assert (done.root, done.new) == (Root("pictures", str(first)), 1)
    assert "root:pictures/deep/new.png" in shards.urls
    assert shards.follow(first).changes.is_none
    around = shards.follow(tmp_path, "all")
    assert (around.new, around.unchanged) == (0, 8)
    assert shards.places == {"all": str(tmp_path)}
    assert "root:all/one/pictures/deep/new.png" in shards.urls
    shards.follow(tmp_path, "everything")
    assert shards.places == {"everything": str(tmp_path)}
    assert numbers < set(shards.urls.values())
    assert shards.follow(tmp_path).changes.is_none


def test_names_that_cannot_be(tmp_path: Path, first: Path, open_table: OpenTable) -> None:
    table = open_table(model="tiny")
    table.sync(first)
    with pytest.raises(UserError, match=r"no such root \(it has pictures\)"):
        table.sync(None, SyncOptions(root="holiday"))
    with pytest.raises(UserError, match="give a folder, or a root"):
        table.sync()
    with pytest.raises(UserError, match="neither / nor ="):
        table.sync(first, SyncOptions(root="a/b"))
    deep = write(first / "deep", new=20)
    with pytest.raises(UserError, match="is in the root pictures"):
        table.sync(deep, SyncOptions(root="deep"))
    elsewhere = SyncOptions(shards=tmp_path / "s", root="pictures")
    with pytest.raises(UserError, match="whose pictures are in other shards; give another name"):
        table.sync(write(tmp_path / "other", cold=21), elsewhere)
    assert table.sync(None, SyncOptions(root="pictures")).folder == first
    assert name_for(Path("/a=b"), ["a-b", "a-b 2"]) == "a-b 3"
    assert name_for(Path("/"), []) == "pictures"
    set_comment(table, "laion", "our pictures")
    with pytest.raises(TableError, match="laion has a comment of its own"):
        table.sync(first)
    assert comment(table, "laion") == "our pictures"


def test_a_table_from_before_roots_goes_on(
    tmp_path: Path, first: Path, open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows have absolute paths, as those of embed. A root around it then swallows its root."""
    table = open_table(model="tiny")
    shards = tmp_path / "laion.chdb.shards" / "laion"
    embed_folder(first, shards, TINY)
    table.ingest(shards)
    assert urls(table) == {str(path) for path in first.glob("*.png")}
    record = json.loads(comment(table, "laion"))["cliphouse"]
    text = json.dumps({"cliphouse": record | {"version": 2}})
    set_comment(table, "laion", text.replace("'", "\\'"))
    (first / "blue.png").rename(first / "sky.png")
    done = table.sync(first)
    assert (done.pictures.new, done.pictures.renamed, done.pictures.unchanged) == (0, 1, 3)
    assert urls(table) == {f"root:pictures/{path.name}" for path in first.glob("*.png")}
    assert_same(table_rows(table), expected_rows(first))
    assert embed_folder(first, shards, TINY).changes.is_none
    monkeypatch.chdir(tmp_path)
    table.sync("one", SyncOptions(root="all"))
    assert places(table) == {"all": str(first.parent)}
    assert_same(table_rows(table), expected_rows(first))


def test_roots_come_with_their_shards(
    tmp_path: Path, shards: Shards, first: Path, second: Path, open_table: OpenTable
) -> None:
    table = open_table()
    table.ingest(shards.folder)
    assert_same(table_rows(table), expected_rows(first) | expected_rows(second))
    shards.follow(second.rename(tmp_path / "elsewhere"), "pictures 2")
    with pytest.raises(TableError, match=r"laion has a root pictures 2, .*/two/pictures"):
        table.ingest(shards.folder)


def test_the_command_and_the_service(tmp_path: Path, first: Path, second: Path) -> None:
    db = ("--db", tmp_path / "my.chdb")
    ask("sync", first, *db, "--model", "tiny")
    moved = second.rename(tmp_path / "moved")
    assert json.loads(ask("sync", "--root", f"more={moved}", *db, "--json"))["root"] == "more"
    (moved / "far.png").rename(tmp_path / "far.png")
    found = ask("search", "a star", *db, "--columns", "url")
    assert f"{moved}/far.png (not there)" in found
    assert found.count("not there") == 1
    hits = json.loads(ask("search", "a star", *db, "--json"))["hits"]
    assert {hit["url"]: hit["missing"] for hit in hits} == {
        **{str(path): False for path in (*first.iterdir(), *moved.iterdir())},
        str(moved / "far.png"): True,
    }
    assert re.search(rf"more +3 +{moved} *\n", ask("info", *db))
    settings = ServeSettings(db=str(tmp_path / "my.chdb"), pictures=(first, moved))
    with serving(settings) as service:
        answer = service.http.post("/api/search", json={"words": "a star", "k": 9}).json()
        ids = {hit["url"]: hit["id"] for hit in answer["hits"]}
        assert answer["hits"] == hits
        with Client(service.url) as client:
            (read,) = client.search_many(["a star"], Request(k=9))
        assert [hit.missing for hit in read] == [hit["missing"] for hit in hits]
        for path, row in ids.items():
            shown = service.http.get(f"/api/image/{row}")
            if path.endswith("far.png"):
                assert (shown.status_code, "does not exist" in shown.text) == (404, True)
            else:
                assert shown.content == Path(path).read_bytes()
            assert service.http.get(f"/api/items/{row}").json()["url"] == path
        summary = service.http.get("/api/info").json()["summary"]
        sizes = [(root["name"], root["rows"]) for root in summary["roots"]]
        assert sizes == [("pictures", 4), ("more", 3)]
    # All roots at once: one has changed, one is not there, and one has lost too much.
    (first / "red.png").unlink()
    moved.rename(tmp_path / "unplugged")
    lost = write(tmp_path / "lost", one=14, other=15, third=16)
    ask("sync", lost, *db)
    for name in ("one", "other"):
        (lost / f"{name}.png").unlink()
    report = ("--report", tmp_path / "passed.csv")
    said = ask("sync", *db, *report, code=1)
    assert f"root more, {moved}: not there, or empty; its rows stay as they are" in said
    assert f"root lost, {lost}: 2 of its 3 pictures are gone" in said
    assert f"root pictures, {first}\n0 new, 0 changed, 0 renamed, 1 gone, 3 unchanged" in said
    assert "9 pictures in table laion" in said
    assert (tmp_path / "passed.csv").read_text() == "kind,path,reason\n"
    found = json.loads(ask("sync", *db, "--allow-delete", "--json"))
    assert [(each["root"], each.get("gone"), "problem" in each) for each in found] == [
        ("lost", 2, False),
        ("more", None, True),
        ("pictures", 0, False),
    ]
    assert "--watch: give the folder" in ask("sync", *db, "--watch", code=1)
    empty = ask("sync", "--db", tmp_path / "new.chdb", code=1)
    assert "table laion has no folder of pictures yet" in empty
    assert not (tmp_path / "new.chdb").exists()


def test_urls_that_name_no_known_root_stay() -> None:
    roots = (Root("a", "/x"), Root("top", "/"))
    local = local_urls(roots)
    given = ["root:a/b/c.png", "root:top/c.png", "root:b/c.png", "root:a", "https://a/b", "/a", ""]
    assert list(map(local, given)) == ["/x/b/c.png", "/c.png", *given[2:]]
    info = TableInfo("tiny", 16, "float32", ("image",), roots=roots)
    assert TableInfo.from_comment(info.to_comment(), "laion") == info
