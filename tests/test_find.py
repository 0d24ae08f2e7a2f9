"""The messy folder of a real person: everything in it is a picture with its caption, or named."""

from __future__ import annotations

import subprocess
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cliphouse.errors import PictureError
from cliphouse.models import load_encoder
from cliphouse.pictures.embed import EmbedOptions, embed_folder
from cliphouse.pictures.files import picture_formats
from cliphouse.pictures.find import find_pictures
from cliphouse.pictures.passed_over import PassedOver, describe, write_report
from forked import python
from heic import write_heic

NFC, NFD = (unicodedata.normalize(form, "Å café") for form in ("NFC", "NFD"))


def save(path: Path, image: Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (8, 6), "red")).save(path, **options)
    return path


def found_in(folder: Path) -> dict[str, str]:
    """The captions of the pictures in a folder, by path."""
    pictures = find_pictures(folder).pictures
    return {picture.path.relative_to(folder).as_posix(): picture.caption for picture in pictures}


def test_finds_nested_pictures_by_path_and_no_hidden_ones(tmp_path: Path) -> None:
    names = ["a.jpg", "b/c/d.PNG", "b/é 🐈.webp", "z.gif"]
    for name in [*names, ".hidden.jpg", ".thumbnails/t.jpg"]:
        save(tmp_path / name)
    assert list(found_in(tmp_path)) == ["a.jpg", "z.gif", "b/é 🐈.webp", "b/c/d.PNG"]
    assert {item.kind for item in find_pictures(tmp_path).passed} == {"hidden"}


def test_captions_come_from_sidecar_then_csv_then_name(tmp_path: Path) -> None:
    for name in ("one.jpg", "two.jpg", "sub/two.jpg", "my_summer-holiday  2024.jpg", "three.jpg"):
        save(tmp_path / name)
    save(tmp_path / "IMG_1018.jpg")
    save(tmp_path / f"{NFD}.jpg")
    (tmp_path / "one.txt").write_text(' a "quoted"\tcaption\n')
    (tmp_path / "three.TXT").write_text("in capitals")
    (tmp_path / f"{NFC}.txt").write_text("written otherwise")
    (tmp_path / "captions.csv").write_text(
        'File,Caption\none.jpg,not this\ntwo.jpg,"from, the csv"\nsub/two.jpg,nested\n'
    )
    assert found_in(tmp_path) == {
        "one.jpg": 'a "quoted"\tcaption',
        "two.jpg": "from, the csv",
        "sub/two.jpg": "nested",
        "three.jpg": "in capitals",
        "my_summer-holiday  2024.jpg": "my summer holiday 2024",
        "IMG_1018.jpg": "",
        f"{NFD}.jpg": "written otherwise",
    }
    assert find_pictures(tmp_path).passed == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="nowhere: no such folder"):
        find_pictures(tmp_path / "nowhere")


def test_links_are_followed_once(tmp_path: Path) -> None:
    """To a folder, to a file, to where it is, to what is linked already, to nothing."""
    folder, other = tmp_path / "p", tmp_path / "other"
    for path in (folder / "a.jpg", folder / "sub" / "b.jpg", other / "c.jpg", tmp_path / "d.jpg"):
        save(path)
    links = {
        "loop": "..",
        "sub/round": "../../p/sub",
        "away": "../other",
        "again": str(other),
        "d.jpg": "../d.jpg",
        "same.jpg": "a.jpg",
        "nowhere.jpg": "nothing.jpg",
        "itself.jpg": "itself.jpg",
    }
    (other / "back").symlink_to(folder)
    for name, target in links.items():
        (folder / name).symlink_to(target)
    found = find_pictures(folder)
    names = sorted(picture.path.relative_to(folder).as_posix() for picture in found.pictures)
    # The loop leads above the folder, where there are more pictures than the links of its own.
    assert names == ["a.jpg", "again/c.jpg", "d.jpg", "sub/b.jpg"]
    kinds = {item.path.name: item.kind for item in found.passed}
    assert kinds.pop("nowhere.jpg") == kinds.pop("itself.jpg") == "broken link"
    assert set(kinds.values()) == {"linked twice"}


def make_mess(folder: Path) -> tuple[set[str], dict[str, str]]:
    """A folder as people have them; returns the names of its pictures, and the kinds of the rest by
    name."""
    picture_formats()
    wide = Image.new("RGB", (60, 20), "navy")
    good = {
        *("plain.jpg", "new\nline .png", f"{NFC}.webp", f"nested/{NFD}/deep.gif", "old.jfif"),
        *("phone.HEIC", "new.AVIF", "print.tif", "scan.tiff", "float.TIF", "turned.jpeg"),
        *("moving.apng", "linked.jpg"),
    }
    for name in ("plain.jpg", "new\nline .png", f"{NFC}.webp", f"nested/{NFD}/deep.gif"):
        save(folder / name, wide)
    save(folder / "old.jfif", wide, format="JPEG")
    write_heic(folder / "phone.HEIC", wide)
    save(folder / "new.AVIF", wide, format="AVIF")
    save(folder / "print.tif", wide.convert("CMYK"))
    save(folder / "scan.tiff", Image.fromarray(np.full((9, 9), 3000, np.uint16)))
    save(folder / "float.TIF", Image.fromarray(np.eye(9, dtype=np.float32)))
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "turned.jpeg", wide, exif=exif)
    save(folder / "moving.apng", wide, format="PNG", save_all=True, append_images=[wide])
    (folder.parent / "elsewhere").mkdir()
    save(folder.parent / "elsewhere" / "linked.png", wide)
    (folder / "linked.jpg").symlink_to("../elsewhere/linked.png")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes((folder / "plain.jpg").read_bytes()[:200])
    (folder / "text.jpg").write_text("this is a text")
    save(folder / "large.png", Image.new("L", (400, 300)))
    (folder / "loop").symlink_to(".")
    (folder / "broken.jpg").symlink_to("nothing")
    (folder / "letter.pdf").write_bytes(b"%PDF-1.4")
    (folder / "film.MP4").write_bytes(b"film")
    (folder / "photo.CR2").write_bytes(b"raw")
    (folder / "Thumbs.db").write_bytes(b"db")
    (folder / "alone.txt").write_text("a caption")
    (folder / "plain.txt").write_bytes("日本語の説明文です。猫が二匹います。".encode("shift_jis"))
    (folder / ".DS_Store").write_bytes(b"mac")
    return good, {
        **dict.fromkeys(("empty.jpg", "cut.jpg", "text.jpg"), "damaged"),
        **dict.fromkeys(("alone.txt", "plain.txt"), "caption"),
        **dict.fromkeys(("letter.pdf", "Thumbs.db"), "unknown suffix"),
        "large.png": "too large",
        "loop": "linked twice",
        "broken.jpg": "broken link",
        "film.MP4": "damaged",
        "photo.CR2": "damaged",
        ".DS_Store": "hidden",
    }


def test_everything_in_a_messy_folder_is_a_row_or_named(tmp_path: Path) -> None:
    good, rest = make_mess(tmp_path / "mess")
    options = EmbedOptions(max_pixels=100_000)
    report = embed_folder(tmp_path / "mess", tmp_path / "s", load_encoder("tiny"), None, options)
    assert report.new == len(good)
    assert {item.path.name: item.kind for item in report.skipped} == rest
    assert all(item.reason for item in report.skipped)
    write_report(report.skipped, tmp_path / "report.csv")
    lines = (tmp_path / "report.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rest)
    assert any(line.startswith("damaged,") and "film.MP4" in line for line in lines)
    again = embed_folder(tmp_path / "mess", tmp_path / "s", load_encoder("tiny"), None, options)
    assert again.unchanged == len(good)
    assert sorted(map(str, again.skipped)) == sorted(map(str, report.skipped))
    assert (report.named_before, len(again.named_before)) == ([], len(rest))


_AS_NOBODY = """
import os, pathlib, sys
from cliphouse.pictures.find import find_pictures
if os.geteuid() == 0:
    os.setuid(65534)
found = find_pictures(pathlib.Path(sys.argv[1]))
print(*[item.path.name for item in found.pictures])
print(*[f"{item.path.name}={item.kind}" for item in found.passed])
"""


def test_what_may_not_be_read_is_named() -> None:
    """By nobody, since root may read everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in ("a.jpg", "b.jpg", "sub/c.jpg"):
            save(folder / path)
        folder.chmod(0o755)
        (folder / "b.jpg").chmod(0)
        (folder / "sub").chmod(0)
        said = subprocess.run(
            [*python(), "-c", _AS_NOBODY, str(folder)], capture_output=True, text=True, check=True
        )
        (folder / "sub").chmod(0o755)
    assert said.stdout.splitlines() == ["a.jpg", "b.jpg=unreadable sub=unreadable"]


def test_kinds_are_counted(tmp_path: Path) -> None:
    names = [*("a.pdf", "b.PDF", "c.xcf", "Makefile"), *(f"x.{letter}" for letter in "defgh")]
    passed = [PassedOver(tmp_path / name, "", "unknown suffix") for name in names]
    passed.append(PassedOver(tmp_path / "x", "", "broken link"))
    assert describe(passed) == (
        "9 files of other kinds (.pdf 2, .xcf 1, no suffix 1, .d 1, .e 1, 3 more), 1 broken link"
    )
