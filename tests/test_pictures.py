"""Finding and opening pictures as people have them."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cliphouse.errors import PictureError
from cliphouse.pictures.files import find_pictures, open_picture
from cliphouse.pictures.sheet import Cell, contact_sheet


def save(path: Path, image: Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (8, 6), "red")).save(path, **options)
    return path


def test_finds_nested_pictures_by_path_and_no_hidden_ones(tmp_path: Path) -> None:
    names = ["a.jpg", "b/c/d.PNG", "b/é 🐈.webp", "z.gif"]
    for name in [*names, ".hidden.jpg", ".thumbnails/t.jpg"]:
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = [picture.path.relative_to(tmp_path).as_posix() for picture in find_pictures(tmp_path)]
    assert found == ["a.jpg", "z.gif", "b/é 🐈.webp", "b/c/d.PNG"]


def test_captions_come_from_sidecar_then_csv_then_name(tmp_path: Path) -> None:
    for name in ("one.jpg", "two.jpg", "sub/two.jpg", "my_summer-holiday  2024.jpg"):
        save(tmp_path / name)
    (tmp_path / "one.txt").write_text(' a "quoted"\tcaption\n')
    (tmp_path / "captions.csv").write_text(
        'File,Caption\none.jpg,not this\ntwo.jpg,"from, the csv"\nsub/two.jpg,nested\n'
    )
    captions = {p.path.relative_to(tmp_path).as_posix(): p.caption for p in find_pictures(tmp_path)}
    assert captions == {
        "one.jpg": 'a "quoted"\tcaption',
        "two.jpg": "from, the csv",
        "sub/two.jpg": "nested",
        "my_summer-holiday  2024.jpg": "my summer holiday 2024",
    }


def test_a_captions_csv_without_its_columns_is_named(tmp_path: Path) -> None:
    save(tmp_path / "one.jpg")
    (tmp_path / "captions.csv").write_text("picture;words\none.jpg;x\n")
    with pytest.raises(PictureError, match=r"captions\.csv: the first line must name the columns"):
        find_pictures(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="nowhere: no such folder"):
        find_pictures(tmp_path / "nowhere")


def test_a_picture_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste("blue", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = save(tmp_path / "turned.png", image, exif=exif)
    opened = open_picture(path)
    assert opened.size == (20, 40)
    assert opened.getpixel((10, 5)) == (0, 0, 255)
    assert opened.getpixel((10, 35)) == (255, 255, 255)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.putpixel((1, 1), (0, 200, 0, 255))
    opened = open_picture(save(tmp_path / "clear.png", image))
    assert opened.mode == "RGB"
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 1)) == (0, 200, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "F"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.full((4, 4), 40_000, np.uint16)) if mode == "I;16" else None
    image = grey or Image.new("L", (4, 4), 160).convert(mode)
    opened = open_picture(save(tmp_path / "picture.tiff", image))
    assert opened.mode == "RGB"
    if mode == "I;16":
        assert opened.getpixel((0, 0)) == (40_000 // 256,) * 3


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    path = save(tmp_path / "moving.gif", frames[0], save_all=True, append_images=frames[1:])
    assert open_picture(path).getpixel((0, 0)) == (255, 0, 0)


def test_giant_pictures_are_refused_before_decoding(tmp_path: Path) -> None:
    path = save(tmp_path / "big.png", Image.new("RGB", (101, 100)))
    with pytest.raises(
        PictureError, match=r"big\.png: 101 x 100 pixels, more than the limit of 10,000"
    ):
        open_picture(path, max_pixels=10_000)
    bomb = save(tmp_path / "bomb.png", Image.new("1", (20_000, 20_000)))
    with pytest.raises(PictureError, match=r"bomb\.png: far more pixels than"):
        open_picture(bomb)


def test_pillow_warns_of_no_picture_that_is_read_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if threads overlap; as soon as no picture is being read, Pillow warns as before."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    path = save(tmp_path / "large.png", Image.new("RGB", (40, 30)))

    def size(_: int) -> tuple[int, int]:
        return open_picture(path, max_pixels=2_000).size

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(PictureError, match="40 x 30 pixels, more than"):
            open_picture(path, max_pixels=1_000)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(size, range(200))) == [(40, 30)] * 200
        assert caught == []
        Image.open(path).close()
    assert [warning.category for warning in caught] == [Image.DecompressionBombWarning]


@pytest.mark.parametrize("data", [b"", b"<html>", b"GIF89a\0\0"])
def test_no_picture_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(PictureError, match=r"x\.jpg: cannot be read as a picture"):
        open_picture(tmp_path / "x.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tiff"])
def test_cut_off_pictures_are_named(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (60, 60, 3), np.uint8))
    path = save(tmp_path / f"x.{suffix}", image)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PictureError, match=rf"x\.{suffix}: cannot be read as a picture"):
        open_picture(path)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"x\.jpg: no such file"):
        open_picture(tmp_path / "x.jpg")


def test_undecodable_file_names_are_found(tmp_path: Path) -> None:
    save(tmp_path / "plain.jpg")
    os.link(tmp_path / "plain.jpg", os.fsencode(tmp_path) + b"/bad\xff.jpg")
    captions = [picture.caption for picture in find_pictures(tmp_path)]
    assert captions == ["bad?", "plain"]


def test_a_contact_sheet_shows_every_picture() -> None:
    colours = ["red", "green", "blue", "yellow", "black", "cyan"]
    cells = [Cell(Image.new("RGB", (30, 20), c), "0.5", "words " * 40) for c in colours]
    sheet = contact_sheet("a title", cells, Image.new("RGB", (10, 10), "magenta"))
    seen = {colour for _, colour in sheet.getcolors(1 << 24)}
    for colour in [*colours, "magenta"]:
        assert Image.new("RGB", (1, 1), colour).getpixel((0, 0)) in seen
