"""A table that follows a folder and has an index: searches find what is there now."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cliphouse.cli.app import app
from cliphouse.indexing import deleted, extend
from cliphouse.table import Table
from conftest import OpenTable
from pictures_model import picture_bytes

ROWS = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(ROWS):
        (pictures / f"{number}.png").write_bytes(picture_bytes(number))
    return pictures


@pytest.fixture
def table(folder: Path, open_table: OpenTable) -> Table:
    made = open_table(model="tiny")
    made.sync(folder)
    made.index("image")
    return made


def check(table: Table, folder: Path) -> None:
    """All ways of searching find the same, and what is new or changed first."""
    picture = table.encode(folder / "new.png")
    exact, *others = (
        [hit.url for hit in table.search(picture, k=ROWS // 2, mode=mode)]
        for mode in ("exact", "hnsw", "auto")
    )
    assert exact[0] == str(folder / "new.png")
    assert others == [exact, exact]
    assert str(folder / "5.png") not in exact


def test_new_rows_are_found_at_once_and_the_graph_is_kept(table: Table, folder: Path) -> None:
    (folder / "new.png").write_bytes(picture_bytes(500))
    (folder / "3.png").write_bytes(picture_bytes(501))
    (folder / "5.png").unlink()
    assert table.sync(folder).extended is None  # a scan of two rows takes no time
    check(table, folder)
    table.sql("OPTIMIZE TABLE laion FINAL")  # a merge, which costs the graph
    done = table.sync(folder)
    assert (done.extended.names, done.extended.is_built) == (("image_index",), True)
    check(table, folder)
    for number in range(5):
        (folder / f"more {number}.png").write_bytes(picture_bytes(600 + number))
    assert table.sync(folder).extended.rows == 5  # more than a tenth
    check(table, folder)


def test_a_long_build_is_left_to_its_owner(
    table: Table, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extend, "_BUILT_AT_ONCE", 1)
    for number in range(5):
        (folder / f"more {number}.png").write_bytes(picture_bytes(600 + number))
    said = CliRunner().invoke(app, ["sync", str(folder), "--db", table.address.shown]).stdout
    last = "image_index: searches scan 5 rows beside it; to extend it: cliphouse index"
    assert said.splitlines()[-1] == last
    hits = table.search(folder / "more 4.png", k=3, mode="hnsw")
    assert hits[0].url == str(folder / "more 4.png")


def _leaves(table: Table, folder: Path) -> tuple[bool, str | None]:
    """Whether a sync that deletes a row leaves it in the files, marked, and what plain SQL then
    says beside the right rows."""
    (folder / "5.png").unlink()
    table.sync(folder)
    parts = "FROM system.parts WHERE active AND table = 'laion' AND has_lightweight_delete"
    (marked,) = table.sql(f"SELECT count() > 0 AS marked {parts}").column("marked").to_pylist()
    vector = table.encode(folder / "7.png")
    wanted = [hit.id for hit in table.search(vector, k=10, mode="exact")]
    asked = "SELECT id FROM laion ORDER BY cosineDistance(image_embedding, {v:Array(Float32)})"
    answer = table.run(f"{asked} LIMIT 10", {"v": vector.tolist()})
    assert answer.rows is not None
    assert len(wanted) == 10
    assert answer.rows.column("id").to_pylist() == wanted
    return bool(marked), answer.hint


def test_deleted_rows_leave_small_files_at_once(table: Table, folder: Path) -> None:
    """The index is still there, and plain SQL uses it."""
    assert _leaves(table, folder) == (False, None)
    (index,) = table.summary().indexes
    assert index.memory_bytes > 0


def test_of_large_files_deleted_rows_are_left_to_a_check(
    table: Table, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleted, "_REMOVED_AT_ONCE", ROWS - 1)
    marked, hint = _leaves(table, folder)
    assert marked
    assert hint is not None
    assert "cliphouse check --repair" in hint
