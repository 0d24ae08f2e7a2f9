"""Pictures that the service sends: those below its folders and no other file of the machine."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cliphouse
from cliphouse.errors import PictureError
from cliphouse.search.hits import Hit
from cliphouse.server.images import Pictures
from cliphouse.server.recent_urls import RecentUrls
from cliphouse.server.settings import Limits, ServeSettings
from heic import write_heic
from serving import Served, serving
from shard_files import make_shard

PLAIN, LINK_OUT, LINK_IN, ABOVE, ELSEWHERE, NO_PICTURE = range(6)
GONE, WEB, FILE_URL, FOLDER, NUL, BOMB, PHONE = range(6, 13)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A table of rows whose urls are what people, and attackers, may have put there."""
    folder = tmp_path_factory.mktemp("images")
    shown, hidden = folder / "shown", folder / "shown-not"
    shown.mkdir()
    hidden.mkdir()
    pixels = np.random.default_rng(1).integers(0, 255, (300, 500, 3), np.uint8)
    for path in (shown / "a b.png", hidden / "secret.png"):
        Image.fromarray(pixels).save(path)
    (shown / "out.png").symlink_to(hidden / "secret.png")
    (shown / "in.png").symlink_to(shown / "a b.png")
    (shown / "text.png").write_text("root:x:0:0")
    Image.new("1", (30_000, 30_000)).save(shown / "bomb.png")
    write_heic(shown / "phone.heic", Image.fromarray(pixels))
    urls = {
        PLAIN: str(shown / "a b.png"),
        LINK_OUT: str(shown / "out.png"),
        LINK_IN: str(shown / "in.png"),
        ABOVE: f"{shown}/../shown-not/secret.png",
        ELSEWHERE: "/etc/passwd",
        NO_PICTURE: str(shown / "text.png"),
        GONE: str(shown / "gone.png"),
        WEB: "http://127.0.0.1/x.png",
        FILE_URL: (shown / "a b.png").as_uri(),
        FOLDER: str(shown),
        NUL: str(shown / "a b.png") + "\0.png",
        BOMB: str(shown / "bomb.png"),
        PHONE: str(shown / "phone.heic"),
    }
    metadata = {"url": [urls[row] for row in range(len(urls))], "caption": [""] * len(urls)}
    make_shard(folder / "s", rows=len(urls), dim=512, metadata=metadata)
    with cliphouse.open(folder / "db", model="tiny") as table:
        table.ingest(folder / "s")
    with serving(ServeSettings(db=str(folder / "db"), pictures=(shown,))) as running:
        yield running


def test_a_picture_is_sent_as_it_is(served: Served) -> None:
    for row in (PLAIN, LINK_IN, FILE_URL):
        answer = served.http.get(f"/api/image/{row}")
        assert answer.headers["content-type"] == "image/png"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        path = Path(served.service.settings.pictures[0]) / "a b.png"
        assert answer.content == path.read_bytes()
    again = served.http.get(
        f"/api/image/{PLAIN}", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_a_photograph_of_a_telephone_is_sent(served: Served) -> None:
    """As it is, and as a JPEG for browsers, which do not show it otherwise."""
    answer = served.http.get(f"/api/image/{PHONE}")
    assert answer.headers["content-type"] == "image/heif"
    small = served.http.get(f"/api/image/{PHONE}?size=64")
    assert Image.open(io.BytesIO(small.content)).format == "JPEG"


def test_a_thumbnail_is_made_only_of_what_needs_one(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (12, 16, 3), np.uint8)
    drawn = Image.fromarray(pixels)
    pictures = Pictures([tmp_path], Limits())
    small = drawn.resize((200, 150))
    small.save(tmp_path / "small.jpg")
    data = (tmp_path / "small.jpg").read_bytes()
    assert pictures.show(str(tmp_path / "small.jpg"), 256).data == data
    thumbnail = Image.open(io.BytesIO(pictures.show(str(tmp_path / "small.jpg"), 64).data))
    assert thumbnail.size == (64, 48)
    (tmp_path / "cut.jpg").write_bytes(data[:-100])
    with pytest.raises(PictureError):
        pictures.show(str(tmp_path / "cut.jpg"), 256)
    small.convert("CMYK").save(tmp_path / "ink.jpg")
    assert pictures.show(str(tmp_path / "ink.jpg"), 256).data != (tmp_path / "ink.jpg").read_bytes()
    large = drawn.resize((1600, 1200), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)  # decoded at a quarter of its size
    shown = Image.open(io.BytesIO(pictures.show(str(tmp_path / "large.jpg"), 256).data))
    exact = large.resize((256, 192), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(shown, int) - np.asarray(exact, int)).mean() < 3


@pytest.mark.parametrize(
    "row", [LINK_OUT, ABOVE, ELSEWHERE, NO_PICTURE, GONE, WEB, FOLDER, NUL, 999]
)
def test_what_is_not_below_its_folders_is_not_there(served: Served, row: int) -> None:
    answer = served.http.get(f"/api/image/{row}")
    assert answer.status_code == 404
    assert str(served.service.settings.pictures[0]) not in answer.text
    small = served.http.get(f"/api/image/{row}", params={"size": 64})
    assert small.status_code in (400, 404)
    assert set(small.json()) == {"error"}


def test_a_picture_that_was_just_found_is_not_asked_for_in_the_table(served: Served) -> None:
    def queries() -> float:
        value = served.service.metrics.registry.get_sample_value("metadata_get_time_count")
        assert value is not None
        return value

    found = served.http.post("/api/search", json={"id": PLAIN, "k": 12}).json()["hits"]
    before = queries()
    for hit in found:
        expected = 200 if hit["id"] in (PLAIN, LINK_IN, FILE_URL, PHONE) else 404
        if hit["id"] != BOMB:
            assert served.http.get(f"/api/image/{hit['id']}").status_code == expected
    assert queries() == before
    assert served.http.get("/api/image/999").status_code == 404
    assert queries() == before + 1


def test_a_url_is_kept_for_ten_seconds() -> None:
    now = 100.0
    urls = RecentUrls(clock=lambda: now)
    urls.keep("laion", [Hit(1, 0.5, 0.5, {"url": "/a.jpg"}), Hit(2, 0.5, 0.5, {})])
    assert [urls.get("laion", row) for row in (1, 2)] == ["/a.jpg", None]
    assert urls.get("second", 1) is None
    now += 9.9
    urls.keep("laion", [Hit(3, 0.5, 0.5, {"url": "/c.jpg"})])
    assert urls.get("laion", 1) == "/a.jpg"
    now += 0.2
    assert [urls.get("laion", row) for row in (1, 3)] == [None, "/c.jpg"]


def test_the_urls_kept_are_bounded() -> None:
    urls = RecentUrls()
    long = "/" + "x" * 40_000
    urls.keep("laion", (Hit(row, 0.5, 0.5, {"url": long}) for row in range(1000)))
    assert sum(urls.get("laion", row) == long for row in range(1000)) in range(100, 125)
    urls.keep("laion", [Hit(5000, 0.5, 0.5, {"url": "/" + "x" * 6_000_000})])
    assert urls.get("laion", 5000) is None


def test_thumbnails_are_made_once_and_anew_for_a_new_file(served: Served) -> None:
    path = Path(served.service.settings.pictures[0]) / "a b.png"

    def small(size: int) -> Image.Image:
        answer = served.http.get(f"/api/image/{PLAIN}", params={"size": size})
        assert answer.headers["content-type"] == "image/jpeg"
        return Image.open(io.BytesIO(answer.content))

    first = small(100)
    assert first.size == (100, 60)
    with Image.open(path) as whole:
        expected = np.asarray(whole.resize((100, 60), Image.Resampling.LANCZOS), float)
    assert np.abs(np.asarray(first, float) - expected).mean() < 12
    times = path.stat()
    Image.new("RGB", (500, 300), "red").save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert np.array_equal(np.asarray(small(100)), np.asarray(first))  # it was kept
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 10**9))
    assert np.asarray(small(100)).reshape(-1, 3).mean(0)[0] > 240
    for size in (0, 15, 1025, "x"):
        assert served.http.get(f"/api/image/{PLAIN}", params={"size": size}).status_code == 422
    assert served.http.get(f"/api/image/{BOMB}", params={"size": 64}).status_code == 400


def test_several_pictures_are_sent_in_one_file(served: Served) -> None:
    rows = [PLAIN, FILE_URL, ELSEWHERE, LINK_OUT, NO_PICTURE, GONE, WEB, 999, PLAIN]
    answer = served.http.post("/api/pictures/zip", json={"ids": rows})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        kept = {name: archive.read(name) for name in archive.namelist()}
    left_out = kept.pop("not in this file.txt").decode().splitlines()
    picture = (Path(served.service.settings.pictures[0]) / "a b.png").read_bytes()
    assert kept == {"a b.png": picture, "a b (2).png": picture}
    assert [int(re.match(r"row (\d+)", line)[1]) for line in left_out] == [  # type: ignore[index]
        999,
        ELSEWHERE,
        LINK_OUT,
        NO_PICTURE,
        GONE,
        WEB,
    ]
    assert answer.headers["x-cliphouse-left-out"] == str(len(left_out))
    none = served.http.post("/api/pictures/zip", json={"ids": [ELSEWHERE, GONE]})
    assert none.status_code == 404


def test_a_file_is_downloaded_under_its_name(served: Served) -> None:
    answer = served.http.get(f"/api/image/{PLAIN}/file")
    picture = (Path(served.service.settings.pictures[0]) / "a b.png").read_bytes()
    assert answer.content == picture
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("attachment; filename")
    for row in (ELSEWHERE, ABOVE, LINK_OUT, NO_PICTURE, WEB):
        assert served.http.get(f"/api/image/{row}/file").status_code == 404


def test_how_a_picture_was_taken_is_told_of_files_that_may_be_sent(served: Served) -> None:
    unknown = dict.fromkeys(("lens", "seconds", "aperture", "iso", "focal_length"))
    answer = served.http.get("/api/image/0/exposure")
    assert (answer.status_code, answer.json()) == (200, unknown)
    for row in (GONE, WEB):
        assert served.http.get(f"/api/image/{row}/exposure").status_code == 404
