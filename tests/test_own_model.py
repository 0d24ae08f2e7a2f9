"""A table of 768 dimensions from a folder of model files: from pictures to hits, with the commands,
SQL and the service; and what the table keeps of its model."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import expect

import cliphouse
from browser import chromium, watched
from cliphouse import Operand, Request
from cliphouse.errors import ModelError
from cliphouse.models import load_encoder, model_name
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.embed import embed_folder
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from cliphouse.udf.install import ServerFolders, server_files
from conftest import Run
from model_folders import Net, clip_tokenizer, immich_folder
from serving import serving

ROWS = 40


@dataclass(frozen=True)
class World:
    """Pictures, a model's folder, and a database of them."""

    folder: Path
    text: NDArray[np.float32]
    image: NDArray[np.float32]

    @property
    def model(self) -> Path:
        return self.folder / "models" / "own-clip"

    @property
    def db(self) -> str:
        return str(self.folder / "db")

    def nearest(self, words: str) -> list[int]:
        vector = load_encoder(str(self.model)).encode_text([words])[0]
        return [int(row) for row in np.argsort(-(self.image @ vector))[:5]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("own-model")
    net = Net(768, 77, 700, 64, "end", 1)
    model = folder / "models" / "own-clip"
    immich_folder(model, net, clip_tokenizer(), "<|endoftext|>")
    write_pictures(folder / "pictures", ROWS, seed=5)
    embed_folder(folder / "pictures", folder / "shards", load_encoder(str(model)))
    with cliphouse.open(folder / "db") as table:
        table.ingest(folder / "shards")
    read = [np.load(folder / "shards" / f"{k}/{k}_0.npy") for k in ("text_emb", "img_emb")]
    return World(folder, *(rows.astype("f4") for rows in read))


def test_the_commands_take_a_folder(world: World, tmp_path: Path, run: Run) -> None:
    model = ("--model", world.model)
    embedded = run("embed", world.folder / "pictures", "--to", "shards", *model)
    assert embedded.stdout == f"{ROWS} new, 0 changed, 0 renamed, 0 gone, 0 unchanged\n"
    manifest = json.loads((tmp_path / "shards" / "cliphouse.json").read_text())
    assert manifest == {"model": "own-clip", "dim": 768}
    assert "model own-clip" in run("ingest", "shards", *model).stdout
    assert "measuring recall" in run("index", "image").stderr
    found = json.loads(run("search", "two red hearts", "-k", 5, "--json", *model).stdout)
    assert [hit["id"] for hit in found["hits"]] == world.nearest("two red hearts")
    first = world.folder / "pictures" / "picture_00003.jpg"
    nearest = json.loads(run("search", first, "-k", 1, "--json", *model).stdout)
    assert nearest["hits"][0]["url"] == str(first)
    statement = (
        "SELECT id FROM laion ORDER BY cosineDistance(image_embedding, encode_text('a')), id"
    )
    rows = json.loads(run("sql", f"{statement} LIMIT 5", "--json", *model).stdout)
    assert [row["id"] for row in rows] == world.nearest("a")


def test_a_table_is_found_by_the_name_of_its_model(world: World, tmp_path: Path, run: Run) -> None:
    """The table keeps the name; where the folder is says --model-dir or the environment."""
    shutil.copytree(world.folder / "models", tmp_path / "moved")
    expected = world.nearest("a dog")
    asked = ("search", "a dog", "-k", 5, "--json", "--db", world.db)
    for options, environment in [
        (("--model-dir", "moved"), {}),
        (("--model-dir", "moved/own-clip"), {}),
        (("--model", "moved/own-clip"), {}),
        ((), {"CLIPHOUSE_MODELS": str(tmp_path / "moved")}),
    ]:
        found = run(*asked, *options, **environment)
        assert [hit["id"] for hit in json.loads(found.stdout)["hits"]] == expected, found
    lost = run(*asked)
    assert lost.returncode == 2
    assert "model 'own-clip' is unknown" in lost.stderr
    assert "--model-dir or CLIPHOUSE_MODELS" in lost.stderr
    other = run(*asked, "--model", "tiny")
    assert (
        "laion was made with model own-clip; words and pictures encoded with tiny" in other.stderr
    )
    (tmp_path / "moved" / "own-clip" / "textual" / "model.onnx").write_bytes(b"<html>404</html>")
    damaged = run(*asked, "--model-dir", "moved")
    assert damaged.returncode == 2
    (line,) = damaged.stderr.splitlines()
    assert "moved/own-clip/textual/model.onnx: the model cannot be loaded: " in line


def test_the_service_and_its_page_search_with_it(world: World) -> None:
    settings = ServeSettings(db=world.db, model_dir=str(world.folder / "models"), workers=1)
    expected = world.nearest("a cat")
    with (
        serving(settings) as served,
        chromium() as browser,
        watched(browser, served.url) as seen,
    ):
        answer = served.http.post("/api/search", json={"words": "a cat", "k": 5}).json()
        assert [hit["id"] for hit in answer["hits"]] == expected
        page = seen.open("/?q=a+cat")
        expect(page.locator("#grid .tile").first).to_have_attribute("data-id", str(expected[0]))


def test_the_service_takes_the_folder_itself(world: World) -> None:
    service = Service(ServeSettings(db=world.db, model=str(world.model), workers=1))
    assert service.start() == []
    try:
        found = asyncio.run(service.search(None, [Operand(words="a cat")], Request(k=5)))
        assert [hit.id for hit in found] == world.nearest("a cat")
    finally:
        service.close()


def test_python_takes_it_and_other_shards_are_refused(world: World, tmp_path: Path) -> None:
    with cliphouse.open(world.db, model=str(world.model)) as table:
        assert (table.info.model, table.info.dim) == ("own-clip", 768)
        hits = table.search("a star", k=5)
        assert [hit.id for hit in hits] == world.nearest("a star")
        pictures = [Image.open(path) for path in sorted((world.folder / "pictures").glob("*.jpg"))]
        vectors = table.encoder.encode_image([p.convert("RGB") for p in pictures])
        np.testing.assert_allclose(vectors, world.image, atol=1e-3)


def test_a_server_is_given_the_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = ServerFolders(tmp_path / "config", tmp_path / "scripts", (tmp_path,))

    def settings(*given: str) -> dict[str, object]:
        (text,) = (f.text for f in server_files(folders, *given) if f.path.name == "encoder.json")
        return dict(json.loads(text))

    monkeypatch.chdir(world.folder)
    assert settings("models/own-clip")["model"] == str(world.model)
    named = settings("own-clip", "models")
    assert (named["model"], named["model_dir"]) == ("own-clip", str(world.folder / "models"))
    with pytest.raises(ModelError, match="ViT-L/14: a server downloads nothing; name the folder"):
        settings("ViT-L/14")
    with pytest.raises(ModelError, match="model 'own-clip' is unknown"):
        settings("own-clip")


def test_names_of_folders(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(world.model)
    (tmp_path / "tiny").symlink_to(world.model)
    (tmp_path / "ViT-L-14__openai").symlink_to(world.model)
    assert model_name("link") == model_name("./link") == model_name("link/") == "link"
    assert model_name("tiny") == "tiny"
    assert load_encoder("tiny").dim == 512
    with pytest.raises(ModelError, match="tiny: rename this folder; tiny is the name of the bund"):
        load_encoder("./tiny")
    assert model_name("./ViT-L-14__openai") == "ViT-L/14"
    cache = tmp_path / "models--immich-app--ViT-B-16__openai" / "snapshots"
    cache.mkdir(parents=True)
    (cache / "0123abc").symlink_to(world.model)
    assert model_name(str(cache / "0123abc")) == "ViT-B-16__openai"
    assert load_encoder("ViT-L/14", str(tmp_path)).dim == 768
    with pytest.raises(ModelError, match=r"in .*models: run cliphouse models fetch ViT-L/14 --to"):
        load_encoder("ViT-L/14", str(world.folder / "models"))
    (tmp_path / "XLM-Roberta-Large-Vit-B-16Plus").symlink_to(world.model)
    with pytest.raises(ModelError, match=r"has vectors of dimension 768, XLM-.* of 640; rename"):
        _ = load_encoder("./XLM-Roberta-Large-Vit-B-16Plus").dim
