"""Operands of a query: weights, sums and differences, and what kind of query comes of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import cliphouse
from cliphouse.errors import PictureError, QueryError
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.search.query.operand import operands_of
from cliphouse.search.query.reader import QueryReader
from cliphouse.search.query.vector import QueryVector
from thorough import examples

ROWS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("query")
    write_pictures(folder / "pictures", ROWS, seed=3)
    cliphouse.embed_folder(folder / "pictures", folder / "s", load_encoder("tiny"))
    with cliphouse.open(folder / "db") as table:
        table.ingest(folder / "s")
    return folder


@pytest.fixture
def table(folder: Path) -> Iterator[cliphouse.Table]:
    with cliphouse.open(folder / "db") as opened:
        yield opened


@pytest.fixture
def reader(table: cliphouse.Table) -> QueryReader:
    return QueryReader(table.handle, lambda: load_encoder("tiny"))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def read(reader: QueryReader, *args: object, **options: object) -> QueryVector:
    return reader.read([operands_of(*args, **options)], "image")[0]  # type: ignore[arg-type]


def test_operands_of_every_kind_are_weighted_and_summed(
    folder: Path, reader: QueryReader, tmp_path: Path
) -> None:
    images = np.load(folder / "s" / "img_emb" / "img_emb_0.npy").astype(np.float64)
    encoder = load_encoder("tiny")
    words = encoder.encode_text(["a red circle", "a blue star"]).astype(np.float64)
    vector = np.random.default_rng(0).standard_normal(512)
    np.save(tmp_path / "v.npy", 7 * vector)
    found = read(
        reader,
        "2:a red circle",
        add=("id:5", str(tmp_path / "v.npy")),
        subtract=("0.5:a blue star", "1:id:9"),
    )
    expected = (
        2 * unit(words[0]) + unit(images[5]) + unit(vector)
        - 0.5 * unit(words[1]) - unit(images[9])
    )  # fmt: skip
    assert found.kind == "mixed"
    assert found.values == pytest.approx(unit(expected), abs=1e-5)


@settings(
    max_examples=examples(8, 20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=4))
def test_only_the_ratio_of_weights_matters(reader: QueryReader, weights: list[float]) -> None:
    rows = [f"id:{row}" for row in range(len(weights))]

    def combined(scale: float) -> np.ndarray:
        first, *others = (f"{w * scale:.6f}:{q}" for w, q in zip(weights, rows, strict=True))
        return read(reader, first, add=tuple(others)).values

    assert combined(1) == pytest.approx(combined(3), abs=1e-4)


def test_what_is_no_weight_is_words(reader: QueryReader) -> None:
    encoder = load_encoder("tiny")
    for query, words in (
        ("3: a cat", "3: a cat"),
        ("1:2:30 to Paris", "2:30 to Paris"),
        ("cat:2", "cat:2"),
        ("-2:cat", "-2:cat"),
    ):
        expected = encoder.encode_text([words])[0]
        assert read(reader, query).values == pytest.approx(expected, abs=1e-5)


def test_kinds(folder: Path, reader: QueryReader) -> None:
    picture = str(folder / "pictures" / "picture_00003.jpg")
    assert read(reader, "a star").kind == "text"
    assert read(reader, "a star", add=("a red circle",)).kind == "text"
    assert read(reader, picture).kind == "image"
    assert read(reader, picture, add=("id:3",)).kind == "image"
    assert read(reader, picture, subtract=("id:4",)).kind == "mixed"
    assert read(reader, picture, add=("red",)).kind == "mixed"
    assert reader.read([operands_of("id:3")], "text")[0].kind == "text"
    assert read(reader, np.ones(512)).kind == "vector"


def test_a_bare_vector_is_recognised(folder: Path, table: cliphouse.Table) -> None:
    for kind, name in (("image", "img_emb"), ("text", "text_emb")):
        rows = np.load(folder / "s" / name / f"{name}_0.npy").astype(np.float32)
        kinds = {table.search(row, k=1).stats.query for row in rows[:20]}
        assert kinds == {kind}


def test_several_queries_at_once(table: cliphouse.Table) -> None:
    asked = ["a red circle", "id:7", operands_of("a star", add=("blue",))]
    request = cliphouse.Request(k=5, where="id % 2 = 1")
    results = table.search_many(asked, request)
    assert len(results) == 3
    for query, result in zip(asked, results, strict=True):
        first, *more = [query] if isinstance(query, str) else query
        alone = table.search(first, k=5, where="id % 2 = 1", add=more)
        assert [hit.id for hit in result] == [hit.id for hit in alone]
    assert table.search_many([]) == []


def test_nothing_left_is_named(reader: QueryReader) -> None:
    with pytest.raises(QueryError, match="cancel out"):
        read(reader, "2:id:4", subtract=("2:id:4",))
    with pytest.raises(QueryError, match=r"0\.0:cat: a weight is more than 0"):
        read(reader, "0.0:cat")


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """Serves one picture, one page and an error on loopback."""
    picture = (folder / "pictures" / "picture_00003.jpg").read_bytes()
    answers = {"/a.jpg": (200, picture), "/page": (200, b"<html>"), "/gone.jpg": (404, b"")}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answers[self.path]
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_picture_by_its_url(folder: Path, reader: QueryReader, web: str) -> None:
    found = read(reader, f"{web}/a.jpg")
    with Image.open(folder / "pictures" / "picture_00003.jpg") as picture:
        expected = load_encoder("tiny").encode_image([picture.convert("RGB")])[0]
    assert found.kind == "image"
    assert found.values == pytest.approx(expected, abs=1e-5)
    with pytest.raises(PictureError, match=r"/page: cannot be read as a picture: not a picture"):
        read(reader, f"{web}/page")
    with pytest.raises(PictureError, match=r"/gone.jpg: the server answers 404 Not Found"):
        read(reader, f"{web}/gone.jpg")
