"""What a photograph knows about itself becomes columns, and its description the caption."""

from __future__ import annotations

import struct
from datetime import datetime
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from cliphouse.pictures.files import read_with
from cliphouse.pictures.photograph import (
    Exposure,
    Photograph,
    read_exposure,
    read_photograph,
)
from conftest import OpenTable
from photographs import EXPOSURE

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Description>
 <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Märkte</rdf:li></rdf:Alt></dc:title>
 <dc:description><rdf:Alt><rdf:li>a market in Rome</rdf:li></rdf:Alt></dc:description>
 <dc:subject><rdf:Bag><rdf:li>fruit</rdf:li><rdf:li>people</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def known(path: Path) -> Photograph:
    with path.open("rb") as stream:
        return read_with(stream, str(path), 10**6, read_photograph)[1]


def full_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "NIKON CORPORATION"
    exif[ExifTags.Base.Model] = "Z 6"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.DateTime] = "2024:01:01 00:00:00"
    exif[ExifTags.Base.ImageDescription] = "the dog on the beach"
    exif[0x9C9B] = "a title".encode("utf-16-le")
    exif[0x9C9E] = "dog;sea".encode("utf-16-le")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2023:05:04 10:11:12"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({1: "S", 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 0.0)})
    return exif


def with_iptc(path: Path, *fields: tuple[int, bytes]) -> None:
    """Put IPTC fields into a JPEG file, as Photoshop keeps them."""
    records = b"".join(
        struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value for number, value in fields
    )
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records
    content = b"Photoshop 3.0\0" + resource + b"\0" * (len(resource) % 2)
    data = path.read_bytes()
    segment = b"\xff\xed" + struct.pack(">H", len(content) + 2) + content
    path.write_bytes(data[:2] + segment + data[2:])


@pytest.fixture
def image() -> Image.Image:
    return Image.new("RGB", (40, 20), "red")


def test_exif_is_read(tmp_path: Path, image: Image.Image) -> None:
    for suffix in ("jpg", "webp", "png"):
        image.save(tmp_path / f"a.{suffix}", exif=full_exif())
        found = known(tmp_path / f"a.{suffix}")
        assert found.taken == datetime(2023, 5, 4, 10, 11, 12), suffix
        assert found.camera == "NIKON CORPORATION Z 6"
        assert found.latitude == pytest.approx(-33.858333)
        assert found.longitude == pytest.approx(151.2)
        assert (found.orientation, found.title) == (6, "a title")
        assert found.keywords == ("dog", "sea")
        assert found.caption == found.description == "the dog on the beach"


def test_how_it_was_taken_is_read(tmp_path: Path, image: Image.Image) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(EXPOSURE)
    image.save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert read_exposure(opened) == Exposure("NIKKOR Z 24-70mm f/4 S", 0.008, 2.8, 200, 35)
    odd = {ExifTags.Base.FNumber: 0.0, ExifTags.Base.ISOSpeedRatings: (100, 200)}
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(odd)
    image.save(tmp_path / "b.jpg", exif=exif)
    with Image.open(tmp_path / "b.jpg") as opened:
        assert read_exposure(opened) == Exposure(iso=100)
    assert read_exposure(image) == Exposure()


def test_xmp_and_iptc_are_read(tmp_path: Path, image: Image.Image) -> None:
    image.save(tmp_path / "x.jpg", xmp=XMP.encode())
    found = known(tmp_path / "x.jpg")
    assert (found.title, found.description) == ("Märkte", "a market in Rome")
    assert found.keywords == ("fruit", "people")
    image.save(tmp_path / "i.jpg")
    fields = [(5, b"Titel"), (120, "Café".encode()), (25, b"Hunde"), (25, b"M\xe4rz")]
    with_iptc(tmp_path / "i.jpg", *fields)
    found = known(tmp_path / "i.jpg")
    assert (found.title, found.description) == ("Titel", "Café")
    assert found.keywords == ("Hunde", "März")


def test_what_is_damaged_or_means_nothing_is_not_known(tmp_path: Path, image: Image.Image) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = "0000:00:00 00:00:00"
    exif[ExifTags.Base.ImageDescription] = "OLYMPUS DIGITAL CAMERA         "
    exif[ExifTags.Base.Orientation] = 77
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (900.0, 0.0, 0.0)})
    image.save(tmp_path / "a.jpg", exif=exif, xmp=b"<x:xmpmeta>")
    assert known(tmp_path / "a.jpg") == Photograph()
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
    image.save(tmp_path / "b.jpg", xmp=bomb.encode())
    assert known(tmp_path / "b.jpg") == Photograph()


def test_the_columns_of_a_table(tmp_path: Path, image: Image.Image, open_table: OpenTable) -> None:
    """They filter, and the description is the caption unless there is a better one."""
    folder = tmp_path / "pictures"
    (folder / "rome").mkdir(parents=True)
    image.save(folder / "IMG_1.jpg", exif=full_exif())
    image.save(folder / "rome" / "IMG_2.jpg", xmp=XMP.encode())
    image.save(folder / "IMG_3.jpg", exif=full_exif())
    image.save(folder / "plain.jpg")
    (folder / "IMG_3.txt").write_text("written beside it")
    table = open_table(model="tiny")
    table.sync(folder)
    rows = table.sql("SELECT * FROM laion ORDER BY url").to_pylist()
    assert {row["file_name"]: (row["caption"], row["folder"]) for row in rows} == {
        "IMG_1.jpg": ("the dog on the beach", ""),
        "IMG_2.jpg": ("a market in Rome", "rome"),
        "IMG_3.jpg": ("written beside it", ""),
        "plain.jpg": ("plain", ""),
    }
    hits = table.search(
        "a dog", filter={"taken": {"min": "2023-05-01", "max": "2023-06-01"}, "keywords": ["sea"]}
    )
    assert {Path(hit.url).name for hit in hits} == {"IMG_1.jpg", "IMG_3.jpg"}
    assert table.sync(folder).pictures.unchanged == 4
    (folder / "IMG_1.jpg").rename(folder / "rome" / "IMG_9.jpg")
    assert table.sync(folder).pictures.renamed == 1
    (moved,) = table.sql("SELECT * FROM laion WHERE file_name = 'IMG_9.jpg'").to_pylist()
    assert (moved["caption"], moved["folder"]) == ("the dog on the beach", "rome")
    assert moved["camera"] == "NIKON CORPORATION Z 6"
