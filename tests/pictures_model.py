"""What a table of a folder's pictures should hold, worked out from the files alone."""

from __future__ import annotations

import io
import os
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import draw
from cliphouse.pictures.scenes import random_scene
from cliphouse.shards.roots import local_urls
from cliphouse.table import Table

TINY = load_encoder("tiny")
GARBAGE = b"this is no picture"

Rows = dict[str, tuple[str, np.ndarray, np.ndarray]]


@cache
def picture_bytes(number: int) -> bytes:
    """The file of one of many different pictures."""
    rng = np.random.default_rng(number)
    stream = io.BytesIO()
    draw(random_scene(rng), rng).resize((64, 64)).save(stream, "PNG")
    return stream.getvalue()


@cache
def image_vector(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return TINY.encode_image([image.convert("RGB")])[0]


@cache
def text_vector(caption: str) -> np.ndarray:
    return TINY.encode_text([caption])[0] * (1 if caption else -1)


def expected_rows(folder: Path) -> Rows:
    """The caption and the vectors of each picture in a folder, by path. Captions are sidecars or
    the names of files, which are words."""
    rows: Rows = {}
    for path in folder.resolve().rglob("*.png"):
        data = path.read_bytes() if os.access(path, os.R_OK) else GARBAGE
        if data != GARBAGE:
            sidecar = path.with_suffix(".txt")
            caption = sidecar.read_text() if sidecar.exists() else path.stem
            rows[str(path)] = caption, image_vector(data), text_vector(caption)
    return rows


def table_rows(table: Table) -> Rows:
    """The same as a table has it. Raises AssertionError if it has a path twice."""
    found = table.connection.query(  # Table.sql would load the model for its functions
        f"SELECT url, caption, image_embedding, text_embedding FROM {table.name} ORDER BY id"
    ).to_pylist()
    local = local_urls(table.info.roots)
    rows = {
        local(row["url"]): (
            row["caption"],
            np.array(row["image_embedding"], np.float32),
            np.array(row["text_embedding"], np.float32),
        )
        for row in found
    }
    assert len(rows) == len(found)
    return rows


def assert_same(found: Rows, wanted: Rows) -> None:
    """Vectors are kept in half precision."""
    assert found.keys() == wanted.keys()
    for path, (caption, image, text) in wanted.items():
        assert found[path][0] == caption, path
        assert np.allclose(found[path][1], image, atol=2e-3), path
        assert np.allclose(found[path][2], text, atol=2e-3), path
