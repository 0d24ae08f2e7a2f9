"""Results in a notebook and as tables: the example runs, thumbnails, data frames, embeddings."""

from __future__ import annotations

import base64
import fcntl
import io
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pyarrow as pa
import pytest
from IPython.lib.pretty import pretty
from nbclient import NotebookClient
from PIL import Image

import cliphouse
from cliphouse.errors import PictureError, QueryError
from cliphouse.search.display import MOST_PICTURES, hits_html
from cliphouse.search.hits import Hit
from serving import Drawn

EXAMPLE = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    """The elements of some HTML, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def table(drawn: Drawn, tmp_path: Path) -> cliphouse.Table:
    shutil.copytree(drawn.db, tmp_path / "laion.chdb", symlinks=True)
    return cliphouse.open(tmp_path / "laion.chdb")


def test_the_example_runs(drawn: Drawn, tmp_path: Path) -> None:
    shutil.copytree(drawn.db, tmp_path / "demo" / "laion.chdb", symlinks=True)
    notebook = nbformat.read(EXAMPLE, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    pages = [out.data["text/html"] for out in outputs if "text/html" in out.get("data", ())]
    assert sum("data:image/jpeg;base64," in page for page in pages) == 3
    assert any("512 dimensions, model tiny>" in str(out.get("data")) for out in outputs)
    assert any("(20, 512)" in out.get("data", {}).get("text/plain", "") for out in outputs)


def test_pictures_are_thumbnails(table: cliphouse.Table) -> None:
    with table:
        found = table.search("a red circle", k=3)
        tags = Tags(found._repr_html_())
        one = Tags(found[0]._repr_html_())
    images = [attributes for tag, attributes in tags.found if tag == "img"]
    assert [image["alt"] for image in images] == [hit.caption for hit in found]
    source = str(images[0]["src"])
    picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert max(picture.size) <= 160
    assert all(f"{hit.score:.3f}" in tags.text for hit in found)
    assert [tag for tag, _ in one.found].count("img") == 1


def test_what_rows_hold_is_text_and_bounded() -> None:
    addresses = ("https://e.org/" + HOSTILE, "javascript:alert(1)", "/dev/zero", "")
    hits = [
        Hit(n, 0.5, 0.5, {"url": url, "caption": HOSTILE * 50}) for n, url in enumerate(addresses)
    ]
    tags = Tags(hits_html(hits * 40))
    assert {tag for tag, _ in tags.found} == {"div", "figure", "img", "figcaption", "b", "p"}
    assert all(not name.startswith("on") for _, attributes in tags.found for name in attributes)
    sources = {attributes["src"] for tag, attributes in tags.found if tag == "img"}
    assert sources == {"https://e.org/" + HOSTILE}
    assert [tag for tag, _ in tags.found].count("figure") == MOST_PICTURES
    assert f"and {160 - MOST_PICTURES} more" in tags.text
    assert HOSTILE in tags.text


def test_tables_and_embeddings(table: cliphouse.Table) -> None:
    with table:
        found = table.search("a red circle", k=5)
        vectors = found.to_numpy()
        query = table.encode("a red circle")
        arrow, pandas, polars = found.to_arrow(), found.to_pandas(), found.to_polars()
    assert vectors.dtype == np.float32
    assert vectors @ query == pytest.approx([hit.score for hit in found], abs=1e-5)
    captions = [hit.caption for hit in found]
    assert arrow.column("caption").to_pylist() == captions
    assert pandas["caption"].tolist() == polars["caption"].to_list() == captions
    assert arrow.schema.field("score").type == pa.float64()


def test_hits_without_their_table_have_no_embeddings(table: cliphouse.Table) -> None:
    with table:
        found = table.search("a red circle", k=2)
    with pytest.raises(QueryError, match="a service sends no embeddings"):
        replace(found, vectors=None).to_numpy()


def test_a_contact_sheet_is_a_file(
    table: cliphouse.Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The system's viewer is opened if there is one; a machine for tests has none."""
    opened: list[str] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with table:
        found = table.search("a red circle", k=6)
    capfd.readouterr()
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with Image.open(found.show()) as sheet:
        assert sheet.width > 5 * 200
        assert len(sheet.getcolors(sheet.width * sheet.height) or ()) > 50
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(shutil, "which", lambda program: f"/bin/{program}")
    monkeypatch.setattr(subprocess, "Popen", lambda words, **_: opened.append(words[1]))
    assert [str(found.show())] == opened
    with pytest.raises(PictureError, match="no hit has a picture in a local file"):
        cliphouse.SearchResult((), found.stats, "").show()


def test_no_pictures_are_said() -> None:
    assert Tags(hits_html([])).text == "No pictures found"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/x/a b#1.jpg", "a b#1.jpg"),
        ("/x/clip.mp4#t=12.5", "clip.mp4 at 12.5 s"),
        ("/x/clip.mp4#t=inf", "clip.mp4 at inf s"),
        ("https://e.org/d/c%20d.jpg?size=9/9#top", "c d.jpg"),
        ("https://e.org/", "e.org"),
        ("http://[", "["),
        ("file:///x/%C3%A9.jpg", "é.jpg"),
        ("/x/photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("", ""),
    ],
)
def test_a_picture_without_a_caption_has_its_files_name(url: str, name: str) -> None:
    for caption in ("", None):
        tags = Tags(hits_html([Hit(1, 0.5, 0.5, {"url": url, "caption": caption})]))
        assert tags.text == f"0.500 {name}"
        styles = [attributes["style"] for tag, attributes in tags.found if tag == "figcaption"]
        assert styles == ["overflow-wrap:anywhere"]


def test_a_table_says_what_it_is(table: cliphouse.Table, tmp_path: Path) -> None:
    place = f"table laion in {tmp_path / 'laion.chdb'}"
    assert repr(table) == f"<{place}>"
    with table:
        rows = len(table.search("a red circle", k=1000))
        assert repr(table) == f"<{place}: {rows} rows, 512 dimensions, model tiny>"
        other = cliphouse.open(tmp_path / "laion.chdb", table="other")
        assert repr(other) == f"<table other in {tmp_path / 'laion.chdb'}>"


def test_a_notebook_says_at_once_what_a_table_is(
    table: cliphouse.Table, drawn: Drawn, tmp_path: Path
) -> None:
    """It keeps nobody from the database, and waits for nobody who has it."""
    folder = tmp_path / "laion.chdb"
    shown = f"<table laion in {folder}: {len(drawn.image)} rows, 512 dimensions, model tiny>"
    assert pretty(table) == shown
    with (folder / "status").open("wb") as status:  # the engine's own lock
        fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
        started = time.monotonic()
        assert pretty(table) == f"<table laion in {folder}>"
        assert time.monotonic() - started < 1
    with table:
        assert table.info.dim == 512
        assert pretty(table) == shown
    assert pretty(cliphouse.open(folder, table="other")) == f"<table other in {folder}>"
    assert pretty(cliphouse.open(tmp_path / "none")) == f"<table laion in {tmp_path / 'none'}>"
    assert not (tmp_path / "none").exists()
    nowhere = "http://127.0.0.1:9"
    assert pretty(cliphouse.open(nowhere)) == f"<table laion in {nowhere}>"
