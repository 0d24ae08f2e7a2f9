"""A service whose model is not whole: what it can encode it searches for, and it says the rest."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cliphouse
from clip_files import make_clip_files
from cliphouse import Operand, Request
from cliphouse.errors import ModelError
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from shard_files import make_shard


@pytest.fixture
def db(tmp_path: Path) -> str:
    make_shard(tmp_path / "s", rows=20, dim=512)
    with cliphouse.open(tmp_path / "db", model="ViT-B/32") as table:
        table.ingest(tmp_path / "s")
    return str(tmp_path / "db")


def picture(path: Path) -> bytes:
    Image.new("RGB", (300, 300), "red").save(path)
    return path.read_bytes()


def test_words_do_without_the_other_half_of_the_model(tmp_path: Path, db: str) -> None:
    files = make_clip_files(tmp_path / "models")
    shutil.rmtree(tmp_path / "models" / "vision")
    service = Service(ServeSettings(db=db, model_dir=str(tmp_path / "models"), workers=1))
    (problem,) = service.start()
    assert problem.startswith("table laion: no search by pictures: ")
    assert "model.onnx" in problem
    rows = np.load(tmp_path / "s" / "img_emb" / "img_emb_0.npy").astype("f4")
    expected = np.argsort(-(rows @ files.expected_text("a cat")))[:5]
    try:
        found = asyncio.run(service.search(None, [Operand(words="a cat")], Request(k=5)))
        assert [hit.id for hit in found] == expected.tolist()
        with pytest.raises(ModelError, match=r"cannot be searched by pictures: .*model\.onnx"):
            asked = [Operand(picture=picture(tmp_path / "x.png"))]
            asyncio.run(service.search(None, asked, Request()))
    finally:
        service.close()


def test_vectors_and_rows_need_no_model(tmp_path: Path, db: str) -> None:
    service = Service(ServeSettings(db=db, model_dir=str(tmp_path / "none"), workers=1))
    assert len(service.start()) == 2
    try:
        assert asyncio.run(service.search(None, [Operand(id=3)], Request(k=1)))[0].id == 3
        with pytest.raises(ModelError, match="cannot be searched by words"):
            asyncio.run(service.search(None, [Operand(words="x")], Request()))
    finally:
        service.close()
