"""Captions arrive whole, or what is wrong with them is named."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from cliphouse.errors import PictureError
from cliphouse.pictures.captions import caption_of_name, read_captions, read_sidecar

NFC, NFD = (unicodedata.normalize(form, "Café à la crème") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]
)
@pytest.mark.parametrize("text", ["Café à la crème", "Straße", "plain words"])
def test_a_text_is_read_in_the_encoding_that_it_has(
    tmp_path: Path, text: str, encoding: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(f" {text}\n".encode(encoding))
    assert read_sidecar(path) == text


def test_windows_quotes_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("L’été – “chez nous”, déjà 5 €".encode("cp1252"))
    assert read_sidecar(tmp_path / "a.txt") == "L’été – “chez nous”, déjà 5 €"


@pytest.mark.parametrize(
    "data",
    ["日本語の説明文です。猫が二匹います。".encode("shift_jis"), b"\xff\xd8\xff\xe0\x10JFIF\0\1\1"],
)
def test_other_encodings_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(PictureError, match=r"a\.txt: not (in UTF-8|text)"):
        read_sidecar(tmp_path / "a.txt")


def test_accents_are_composed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(NFD, "utf-8")
    assert NFD != NFC == read_sidecar(tmp_path / "a.txt") == caption_of_name(NFD)


@pytest.mark.parametrize(
    "stem",
    [
        *("IMG_1018", "DSC01234", "_DSC0042", "P1010023", "PXL_20230101_123456789.PORTRAIT"),
        *("IMG-20240101-WA0003", "20230101_123456", "Screenshot 2024-01-01 at 10.11.12"),
        *("IMG_1018 (2)", "DSC_0001-edited", "WhatsApp Image 2023-05-04 at 10.11.12", "0042"),
        *("550e8400-e29b-41d4-a716-446655440000", "d41d8cd98f00b204e9800998ecf8427e"),
        "1" * 200,
    ],
)
def test_the_names_that_cameras_give_are_no_captions(stem: str) -> None:
    assert caption_of_name(stem) == ""
    assert caption_of_name(f"{stem} in Rome") != ""


def test_other_names_are_captions() -> None:
    assert caption_of_name("my_summer-holiday  2024") == "my summer holiday 2024"
    assert caption_of_name("paris") == "paris"
    assert caption_of_name("cat 3") == "cat 3"


def captions(folder: Path, lines: str, *names: str) -> tuple[dict[str, str], list[str]]:
    """What captions.csv says of the pictures ``names``, and what is said of its other lines."""
    (folder / "captions.csv").write_bytes(lines.encode())
    listed = read_captions(folder / "captions.csv", [folder / name for name in names])
    found = {path.relative_to(folder).as_posix(): text for path, text in listed.captions.items()}
    return found, [item.reason for item in listed.passed]


def test_files_are_found_as_people_write_them(tmp_path: Path) -> None:
    names = ("a.jpg", "B.jpg", "c.jpg", "sub/f.jpg", "g.jpg", "h,i.jpg", f"{NFD}.jpg")
    found, others = captions(
        tmp_path,
        f"\ufeffFile,Caption\r\n./a.jpg,one\r\nb.JPG,two\r\n/c.jpg,three\r\nsub\\f.jpg,four\r\n"
        f'C:\\Users\\me\\g.jpg,five\r\n"h,i.jpg","six,\nseven"\r\n{NFC}.jpg,{NFD}\r\n',
        *names,
    )
    assert list(found.values()) == ["one", "two", "three", "four", "five", "six,\nseven", NFC]
    assert list(found) == list(names)
    assert others == []
    found, others = captions(tmp_path, f"file,caption\n{tmp_path}/sub/f.jpg,x\n", "sub/f.jpg")
    assert (found, others) == ({"sub/f.jpg": "x"}, [])


def test_lines_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    found, others = captions(
        tmp_path,
        "file,caption\na.jpg,red, white and blue\nb.jpg,one\n\nb.jpg,two\nmissing.jpg,x\n,y\n"
        'c.jpg,"of two\nlines"\nsub/b.jpg,z\nd.JPG,w\n',
        *("a.jpg", "b.jpg", "c.jpg", "D.jpg", "D.JPEG", "d.jpG"),
    )
    assert found == {"b.jpg": "one", "c.jpg": "of two\nlines"}
    assert [reason.split(":")[0] for reason in others] == [
        *("line 2", "line 5", "line 6", "line 7", "line 10", "line 11")
    ]
    assert "put quotes around a caption with commas" in others[0]
    assert "a second caption of b.jpg, after line 3" in others[1]
    assert "there is no picture missing.jpg" in others[2]
    assert "d.JPG may be D.jpg or d.jpG" in others[5]


def test_a_captions_csv_without_its_columns_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"captions\.csv: the first line must name the columns"):
        captions(tmp_path, "picture;words\none.jpg;x\n", "one.jpg")
