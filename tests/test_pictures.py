"""Opening pictures as people have them."""

from __future__ import annotations

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cliphouse.errors import PictureError
from cliphouse.pictures.files import open_picture, picture_formats
from cliphouse.pictures.formats import SUFFIXES
from cliphouse.pictures.sheet import Cell, contact_sheet
from heic import write_heic


def save(path: Path, image: Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (8, 6), "red")).save(path, **options)
    return path


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


def test_every_format_that_is_decoded_has_its_suffixes() -> None:
    """Those of Pillow and of pi-heif; MPO has a suffix only for writing."""
    formats = set(picture_formats())
    read = {name for name, form in Image.registered_extensions().items() if form in formats}
    assert {*read, ".mpo"} == SUFFIXES
    assert {"HEIF", "AVIF", "JPEG2000"} < formats
    assert not formats & {"EPS", "PDF"}


def as_tiff(path: Path, values: np.ndarray) -> list[int]:
    """The grey values of a TIFF with ``values``, as they are opened; 127 and 128 are one."""
    Image.fromarray(values).save(path / "grey.tiff")
    grey = np.asarray(open_picture(path / "grey.tiff"))[0, :, 0]
    return np.where(grey == 127, 128, grey).tolist()


def test_deep_grey_is_scaled_by_its_range(tmp_path: Path) -> None:
    """None of them is black or white all over, as when the upper or the lower 8 bits are taken."""
    assert as_tiff(tmp_path, np.array([[0, 2048, 4095]], np.uint16)) == [0, 128, 255]
    assert as_tiff(tmp_path, np.array([[0, 32768, 65535]], np.uint16)) == [0, 128, 255]
    assert as_tiff(tmp_path, np.array([[0, 10**6, 2 * 10**6]], np.int32)) == [0, 128, 255]
    assert as_tiff(tmp_path, np.array([[-100, 0, 100]], np.int32)) == [0, 128, 255]
    assert as_tiff(tmp_path, np.array([[0, 0.5, 1]], np.float32)) == [0, 128, 255]
    assert as_tiff(tmp_path, np.array([[0, 100, 255]], np.float32)) == [0, 100, 255]
    assert as_tiff(tmp_path, np.array([[-1e4, 0, 1e4]], np.float32)) == [0, 128, 255]
    assert as_tiff(tmp_path, np.array([[np.nan, np.inf, 0.5]], np.float32)) == [0, 255, 128]
    assert as_tiff(tmp_path, np.full((1, 2), 7e6, np.float32)) == [0, 0]


@pytest.mark.parametrize("suffix", ["heic", "avif", "jp2", "jfif", "apng", "tga", "qoi", "psd"])
def test_pictures_of_less_common_formats_are_read(tmp_path: Path, suffix: str) -> None:
    """Named as they are, and named otherwise."""
    form = {"jfif": "JPEG", "apng": "PNG", "jp2": "JPEG2000"}.get(suffix, suffix)
    path = tmp_path / f"picture.{suffix}"
    if suffix == "psd":  # a format that Pillow does not write: 4 x 3 pixels of plain red
        head = b"8BPS" + bytes((0, 1, *[0] * 6, 0, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 8, 0, 3))
        path.write_bytes(head + bytes(14) + b"\xff" * 12 + b"\0" * 24)
    elif suffix == "heic":
        write_heic(path, Image.new("RGB", (48, 36), "red"))
    else:
        picture_formats()
        Image.new("RGB", (48, 36), "red").save(path, form.upper())
    for name in (path, shutil.copy(path, tmp_path / "picture.jpg")):
        red, green, blue = open_picture(name).getpixel((2, 2))
        assert red > 240
        assert max(green, blue) < 16


def test_postscript_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(PictureError, match="not a picture"):
        open_picture(tmp_path / "x.jpg")


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


def test_a_contact_sheet_shows_every_picture() -> None:
    colours = ["red", "green", "blue", "yellow", "black", "cyan"]
    cells = [Cell(Image.new("RGB", (30, 20), c), "0.5", "words " * 40) for c in colours]
    sheet = contact_sheet("a title", cells, Image.new("RGB", (10, 10), "magenta"))
    seen = {colour for _, colour in sheet.getcolors(1 << 24)}
    for colour in [*colours, "magenta"]:
        assert Image.new("RGB", (1, 1), colour).getpixel((0, 0)) in seen
