"""The statements of ClickHouse's LAION guide, of today and of before, on its table and on ours.

The statements here are written for these tests. Where the guide itself lies beside the repository
(or where CLIPHOUSE_GUIDE says), its own statements are run too, as they stand in it but for file
paths and the number of rows.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import cliphouse
from cliphouse.engine.statements import split_statements
from cliphouse.errors import QueryError
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.embed import embed_folder

ROWS = 120
WORDS = "a dog and a cat"
GUIDE = Path(os.environ.get("CLIPHOUSE_GUIDE", Path(__file__).parents[2] / "shared" / "guide"))
SEVEN = "id, url, caption, NSFW, similarity, image_embedding, text_embedding"
CREATE = """
CREATE TABLE laion
(
    id Int64, url String, caption String, NSFW String, similarity Float32,
    image_embedding Array(Float32), text_embedding Array(Float32)
)
ENGINE = MergeTree ORDER BY id SETTINGS index_granularity = 8192;
INSERT INTO laion FROM INFILE '{csv}/*.csv';
"""
INDEXES = """
ALTER TABLE laion ADD INDEX image_index image_embedding
    TYPE vector_similarity('hnsw', 'cosineDistance', 512, 'bf16', 64, 256);
ALTER TABLE laion ADD INDEX text_index text_embedding
    TYPE vector_similarity('hnsw', 'cosineDistance', 512, 'bf16', 64, 256);
ALTER TABLE laion MATERIALIZE INDEX image_index;
ALTER TABLE laion MATERIALIZE INDEX text_index;
"""


class World:
    """Drawn pictures, their shards, the guide's CSV of them, and their vectors to compare with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_pictures(folder / "pictures", ROWS, seed=11)
        embed_folder(folder / "pictures", folder / "shards", load_encoder("tiny"))
        self.image = self._vectors("img_emb")
        self.text = self._vectors("text_emb")
        with cliphouse.open(folder / "made.chdb") as table:
            table.ingest(folder / "shards")
            self.urls = table.sql("SELECT url FROM laion ORDER BY id").column("url").to_pylist()
            (folder / "csv").mkdir()
            table.export(folder / "csv", "csv")

    def _vectors(self, part: str) -> NDArray[np.float32]:
        return np.load(self.folder / "shards" / part / f"{part}_0.npy").astype(np.float32)

    def nearest(self, query: NDArray[np.float32], rows: NDArray[np.float32], k: int) -> list[str]:
        """The urls nearest by cosine: all vectors are of length 1, so by L2 too."""
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return [self.urls[row] for row in np.argsort(-(unit @ query), kind="stable")[:k]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("guide"))


@pytest.fixture(params=["made by the guide", "made by cliphouse"])
def table(
    request: pytest.FixtureRequest,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[cliphouse.Table]:
    """The same rows in a table of either make, with a picture to look for."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(world.urls[7], "image.jpg")
    if request.param == "made by cliphouse":
        shutil.copytree(world.folder / "made.chdb", "laion.chdb", symlinks=True)
    else:
        Path("laion.chdb").mkdir()
    with cliphouse.open("laion.chdb", model="tiny") as opened:
        if request.param == "made by the guide":
            run_all(opened, CREATE.format(csv=world.folder / "csv"))
        yield opened


def run_all(table: cliphouse.Table, text: str) -> None:
    for statement in split_statements(text):
        table.run(statement)


def urls(table: cliphouse.Table, sql: str, **parameters: object) -> list[str]:
    return list(table.sql(sql, parameters).column("url").to_pylist())


def overlap(found: list[str], expected: list[str]) -> float:
    return len(set(found) & set(expected)) / len(expected)


def test_todays_statements(table: cliphouse.Table, world: World) -> None:
    target = world.image[7] / np.linalg.norm(world.image[7])
    by_image = (
        "SELECT url, caption FROM laion ORDER BY cosineDistance(image_embedding, {}) LIMIT 10"
    )
    exact = by_image.format("{target:Array(Float32)}")
    wanted = world.nearest(target, world.image, 10)
    assert overlap(urls(table, exact, target=target.tolist()), wanted) >= 0.9  # ties may change
    run_all(table, INDEXES)
    assert overlap(urls(table, exact, target=target.tolist()), wanted) >= 0.9
    assert "vector_similarity" in explained(table, exact, target=target.tolist())

    words = load_encoder("tiny").encode_text([WORDS])[0]
    by_words = (
        f"SELECT url FROM laion ORDER BY cosineDistance(text_embedding, encode_text('{WORDS}')) "
        "ASC LIMIT 10"
    )
    assert overlap(urls(table, by_words), world.nearest(words, world.text, 10)) >= 0.8
    by_picture = by_image.format("encode_image('image.jpg')")
    assert overlap(urls(table, by_picture), wanted) >= 0.9
    for search in (by_words, by_picture):
        assert "vector_similarity" in explained(table, search)


def test_older_statements(table: cliphouse.Table, world: World) -> None:
    target = world.image[3] / np.linalg.norm(world.image[3])
    nearest = "SELECT url, caption FROM {} ORDER BY {}(image_embedding, {}) LIMIT {}"
    brute = nearest.format("laion", "L2Distance", "{target:Array(Float32)}", 30)
    wanted = world.nearest(target, world.image, 30)
    assert overlap(urls(table, brute, target=target.tolist()), wanted) >= 0.9
    table.run(
        "CREATE TABLE older (id Int64, url String, image_embedding Array(Float32)) "
        "ENGINE = MergeTree ORDER BY id"
    )
    with pytest.raises(QueryError, match="no longer has the index type annoy") as caught:
        table.run("ALTER TABLE older ADD INDEX annoy_image image_embedding TYPE annoy()")
    table.run(str(caught.value).partition("512): ")[2])
    table.run("INSERT INTO older SELECT id, url, image_embedding FROM laion")
    few = nearest.format("older", "l2Distance", "{target:Array(Float32)}", 8).replace(
        ", caption", ""
    )
    assert overlap(urls(table, few, target=target.tolist()), wanted[:8]) >= 0.8


def explained(table: cliphouse.Table, sql: str, **parameters: object) -> str:
    lines = table.sql(f"EXPLAIN indexes = 1 {sql}", parameters).column("explain")
    return "\n".join(lines.to_pylist())


def guide_statements(page: Path) -> list[str]:
    """The SQL of a page: from a line that begins a statement to one that ends its last clause,
    since in the English text the blocks run into the prose."""
    text = page.read_text()
    if page.suffix == ".md":
        text = "\n".join(re.findall(r"```(?:sql|SQL)\n(.*?)```", text, re.DOTALL))
    starts = r"(?:CREATE TABLE|INSERT INTO|SELECT|ALTER TABLE)"
    # None of them ends in the middle of a line, and some have no semicolon.
    ends = r"(?:granularity = \d+|'\{path[^']*'|\* FROM laion|LIMIT \d+|256\)|INDEX \w+)"
    calls = r"SELECT encode_\w+\('[^']*'\)"
    pattern = rf"^({calls}|{starts}\b.*?{ends});?\s*$"
    return [found[1] for found in re.finditer(pattern, text, re.DOTALL | re.MULTILINE)]


def adapted(statement: str, world: World) -> str:
    """A statement with the paths of this machine."""
    return statement.replace("{path_to_csv_files}", str(world.folder / "csv")).replace(
        "/path/to/your/image", "image.jpg"
    )


# Collected only where the guide is: there is nothing to skip elsewhere.
if GUIDE.is_dir():
    PAGES = sorted(p for p in GUIDE.iterdir() if p.name.startswith("guide"))

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
    @pytest.mark.parametrize("is_ours", [False, True], ids=["its table", "our table"])
    def test_the_guide_as_written(
        page: Path, is_ours: bool, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every statement runs; only annoy is refused, and its replacement runs instead."""
        monkeypatch.chdir(tmp_path)
        shutil.copy(world.urls[7], "image.jpg")
        if is_ours:
            shutil.copytree(world.folder / "made.chdb", "laion.chdb", symlinks=True)
        else:
            Path("laion.chdb").mkdir()
        statements = guide_statements(page)
        assert len(statements) >= 7
        target = {"target": world.image[7].tolist()}
        done: list[str] = []
        with cliphouse.open("laion.chdb", model="tiny") as table:
            for written in statements:
                statement = adapted(written, world)
                if is_ours and re.match(r"CREATE TABLE laion\s|INSERT INTO laion FROM", statement):
                    continue
                if is_ours and statement == "INSERT INTO laion_annoy SELECT * FROM laion":
                    # Our table has three columns more, and the engine counts them.
                    with pytest.raises(QueryError, match="Number of columns"):
                        table.run(statement)
                    statement = statement.replace("*", SEVEN)
                done.append(run_as_written(table, statement, target))
            assert table.sql("SELECT count() AS n FROM laion").column("n").to_pylist() == [ROWS]
        assert any("encode_text('" in one for one in done)
        assert any("encode_image('" in one for one in done)

    def run_as_written(table: cliphouse.Table, statement: str, target: dict[str, object]) -> str:
        run: Callable[..., object] = table.run
        if "annoy(" in statement:
            with pytest.raises(QueryError, match="no longer has the index type annoy") as caught:
                run(statement)
            statement = str(caught.value).partition("512): ")[2]
        needs = target if "{target" in statement else {}
        answer = table.run(statement, needs)
        if answer.rows is not None and statement.startswith("SELECT"):
            assert answer.rows.num_rows > 0, statement
        return statement
