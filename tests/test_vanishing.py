"""Files and folders that vanish while they are in use: a line names them, nothing is left half
written, and the same call works when they are back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cliphouse.cli import formats, plot
from cliphouse.engine import backup
from cliphouse.engine.address import parse_address
from cliphouse.errors import CliphouseError
from cliphouse.indexing.build import IndexBuilder
from cliphouse.inspection.check import check_shards
from cliphouse.loading.sync import SyncOptions
from cliphouse.models import load_encoder
from cliphouse.pictures import embed
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.embed import EmbedOptions, EmbedSizes, embed_folder
from cliphouse.server import pulse
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from cliphouse.shards.whole_file import whole_file
from cliphouse.table import Table
from cliphouse.vocabulary import Measured
from conftest import OpenTable
from hooked import small_batches
from serving import serving
from shard_files import make_shard


@pytest.fixture
def table(tmp_path: Path, open_table: OpenTable) -> Table:
    make_shard(tmp_path / "s", 0, 200, 16)
    opened = open_table()
    opened.ingest(tmp_path / "s")
    return opened


def once(action: Callable[[], object]) -> Callable[..., None]:
    """Something to call often that acts at the first call."""
    left = [action]

    def call(*_: object) -> None:
        if left:
            left.pop()()

    return call


def refused(action: Callable[[], object]) -> str:
    """The one line with which it is refused."""
    with pytest.raises(CliphouseError) as refusal:
        action()
    line = str(refusal.value)
    assert "\n" not in line
    return line


def test_a_picture_that_vanishes_is_passed_over_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "p", 4, seed=2)
    gone = tmp_path / "p" / "picture_00002.jpg"
    find = embed.find_pictures

    def found_and_gone(*given: Any) -> object:
        found = find(*given)
        gone.unlink()
        return found

    monkeypatch.setattr(embed, "find_pictures", found_and_gone)
    report = embed_folder(tmp_path / "p", tmp_path / "to", load_encoder("tiny"))
    assert report.new == 3
    assert [item.path for item in report.skipped] == [gone]
    assert "No such file" in report.skipped[0].reason


def test_a_folder_of_shards_that_vanishes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p", 6, seed=2)
    to, encoder = tmp_path / "to", load_encoder("tiny")
    options = EmbedOptions(sizes=EmbedSizes(shard=3, batch=2))
    with suppress(CliphouseError):
        embed_folder(tmp_path / "p", to, encoder, once(lambda: shutil.rmtree(to)), options)
    embed_folder(tmp_path / "p", to, encoder, None, options)
    assert embed_folder(tmp_path / "p", to, encoder, None, options).unchanged == 6
    assert check_shards([str(to)], None).rows == 6
    assert not list(to.rglob("*.part"))


def test_a_shard_that_vanishes_is_named_and_loaded_later(
    tmp_path: Path, open_table: OpenTable
) -> None:
    shards = [make_shard(tmp_path / "s", number, 60, 8) for number in range(3)]
    lost, kept = tmp_path / "s" / "text_emb" / "text_emb_2.npy", tmp_path / "kept.npy"
    table = open_table()
    vanish = once(lambda: lost.rename(kept))
    settings = small_batches(20)
    line = refused(lambda: table.ingest(tmp_path / "s", progress=vanish, settings=settings))
    assert "text_emb_2.npy" in line
    kept.rename(lost)
    table.ingest(tmp_path / "s", settings=settings)
    ids = table.sql("SELECT id FROM laion ORDER BY id").column("id").to_pylist()
    assert ids == [row for made in shards for row in made.ids]


def test_a_folder_of_pictures_that_vanishes_deletes_nothing(
    tmp_path: Path, open_table: OpenTable
) -> None:
    pictures = tmp_path / "p"
    write_pictures(pictures, 4, seed=2)
    with open_table(model="tiny") as table:
        table.sync(pictures, SyncOptions(tmp_path / "to"))
        pictures.rename(tmp_path / "away")
        line = refused(lambda: table.sync(pictures, SyncOptions(tmp_path / "to")))
        assert str(pictures) in line
        (tmp_path / "away").rename(pictures)
        done = table.sync(pictures, SyncOptions(tmp_path / "to"))
        assert (done.pictures.gone, done.pictures.unchanged) == (0, 4)
        assert table.summary().rows == 4


@pytest.mark.parametrize("name", ["out.jsonl", "shards"])
def test_a_folder_of_exports_that_vanishes(table: Table, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    form = "jsonl" if name.endswith("jsonl") else "shards"
    vanish = once(lambda: shutil.rmtree(folder))
    line = refused(lambda: table.export(folder / name, form, progress=vanish))
    assert str(folder / name) in line
    assert not list(tmp_path.rglob("*.part"))
    folder.mkdir(exist_ok=True)
    assert table.export(folder / name, form).rows == 200


def test_a_folder_of_backups_that_vanishes(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.close()
    folder, db = tmp_path / "out", parse_address(str(tmp_path / "laion.chdb"))
    folder.mkdir()
    pack, vanish = backup._pack, once(lambda: shutil.rmtree(folder))
    monkeypatch.setattr(backup, "_pack", lambda *given: (vanish(), pack(*given)))
    line = refused(lambda: backup.back_up(db, folder / "b.zip"))
    assert str(folder / "b.zip") in line
    folder.mkdir(exist_ok=True)
    assert backup.back_up(db, folder / "b.zip").tables["laion"] == 200


def test_a_database_that_vanishes_while_its_index_is_built(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, away = tmp_path / "laion.chdb", tmp_path / "away"
    build, vanish = IndexBuilder.materialize, once(lambda: db.rename(away))
    monkeypatch.setattr(IndexBuilder, "materialize", lambda *given: (vanish(), build(*given)))
    line = refused(lambda: table.index("image"))
    assert str(db) in line
    assert "No such file or directory" in line
    table.close()
    away.rename(db)
    assert table.index("image").rows == 200
    assert table.search("id:7", k=1, mode="hnsw")[0].id == 7
    assert table.check().is_good


def test_a_folder_of_results_that_vanishes(tmp_path: Path) -> None:
    folder, found = tmp_path / "out", pa.table({"id": [1, 2]})
    folder.mkdir()
    vanish = once(lambda: shutil.rmtree(folder))

    def search() -> pa.Table:
        vanish()
        return found

    def write() -> None:
        formats.write(search, formats.Format.CSV, folder / "r.csv", lambda: None, lambda: None)

    assert f"{folder / 'r.csv'}: the folder {folder} does not exist" in refused(write)
    folder.mkdir()
    write()
    assert (folder / "r.csv").read_text() == '"id"\n1\n2\n'


def test_a_plot_is_drawn_though_its_folder_has_vanished(tmp_path: Path) -> None:
    """To measure what it shows takes minutes, so the folder is made again."""
    measured = [Measured("image", "text", "exact", 0, 10, 1.0, 2.5, queries=30, rows=200)]
    plot.plot_recall(measured, tmp_path / "out" / "p.svg")
    assert (tmp_path / "out" / "p.svg").read_text().rstrip().endswith("</svg>")


def test_the_folder_of_a_file_that_vanishes_as_it_is_written(tmp_path: Path) -> None:
    def write() -> None:
        with whole_file(tmp_path / "out" / "r.json") as stream:
            stream.write(b"{}")
            shutil.rmtree(tmp_path / "out")

    assert str(tmp_path / "out" / "r.json") in refused(write)
    assert not list(tmp_path.iterdir())


def test_a_service_says_that_its_database_has_vanished(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "_FRESH_SECONDS", 0.0)
    table.close()
    db, away = tmp_path / "laion.chdb", tmp_path / "away"
    settings = ServeSettings(db=str(db))
    service = Service(settings)
    service.start()
    with serving(settings, service) as running:
        assert running.http.get("/health").json() == {"status": "ready"}
        db.rename(away)
        failing = running.http.get("/health")
        away.rename(db)
        again = running.http.get("/health")
    assert failing.status_code == 503
    assert failing.json() == {"status": "failing", "reason": "table laion cannot be read"}
    assert (again.status_code, again.json()) == (200, {"status": "ready"})
