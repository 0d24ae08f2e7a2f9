"""Large JPEG pictures are decoded at a smaller scale, and nothing else about them changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from cliphouse.errors import ModelError
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import random_picture
from cliphouse.pictures.embed import embed_folder
from cliphouse.pictures.files import open_picture, read_with, upright_size

TINY = load_encoder("tiny")


def save(path: Path, size: tuple[int, int], orientation: int = 1, seed: int = 0) -> None:
    """A drawn picture of this size with some grain, as a camera that was turned saves it."""
    rng = np.random.default_rng(seed)
    drawn = random_picture(seed, 0).image.resize(size, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(drawn, float) + grain, 0, 255).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, quality=92, exif=exif)


@pytest.mark.parametrize(
    ("size", "edge", "decoded"),
    [
        ((2000, 1500), 336, (500, 375)),
        ((2000, 1500), 96, (250, 188)),
        ((2000, 1500), 800, (2000, 1500)),
        ((1300, 1000), 336, (650, 500)),
        ((1200, 900), 336, (1200, 900)),
    ],
)
def test_a_large_jpeg_is_decoded_smaller(
    tmp_path: Path, size: tuple[int, int], edge: int, decoded: tuple[int, int]
) -> None:
    path = tmp_path / "one.jpg"
    save(path, size)
    with path.open("rb") as stream:
        image, seen = read_with(stream, "one", 10**8, upright_size, lambda: edge)
    assert (image.size, seen) == (decoded, size)
    image.save(tmp_path / "one.png")
    with (tmp_path / "one.png").open("rb") as stream:
        assert read_with(stream, "one", 10**8, upright_size, lambda: 10)[0].size == decoded


def test_its_row_is_that_of_the_whole_picture(tmp_path: Path) -> None:
    """The vectors are those of the whole pictures but for what JPEG itself loses, and width and
    height are the files'."""
    sizes = [(1600, 1200), (1100, 2100), (3000, 1000), (640, 480)]
    for number, size in enumerate(sizes):
        save(tmp_path / "in" / f"{number}.jpg", size, orientation=[1, 6, 3, 8][number], seed=number)
    embed_folder(tmp_path / "in", tmp_path / "out", TINY)
    entries = pq.read_table(tmp_path / "out" / "metadata" / "metadata_0.parquet").to_pylist()
    turned = [size[::-1] if number % 2 else size for number, size in enumerate(sizes)]
    assert [(entry["width"], entry["height"]) for entry in entries] == turned
    vectors = np.load(tmp_path / "out" / "img_emb" / "img_emb_0.npy").astype("f4")
    whole = TINY.encode_image([open_picture(tmp_path / "in" / f"{n}.jpg") for n in range(4)])
    assert ((vectors * whole).sum(1) > 0.999).all()


def test_a_missing_model_is_not_the_picture_s_fault(tmp_path: Path) -> None:
    save(tmp_path / "in" / "one.jpg", (1600, 1200))
    missing = load_encoder("ViT-B/32", str(tmp_path / "no model"))
    with pytest.raises(ModelError, match=r"model\.onnx, preprocessor_config\.json missing"):
        embed_folder(tmp_path / "in", tmp_path / "out", missing)
