"""Frames of videos and RAW photographs become rows, with the extras that read them."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cliphouse.errors import PictureError, UserError
from cliphouse.pictures import walk
from cliphouse.pictures.embed import EmbedOptions, EmbedReport, embed_folder
from cliphouse.pictures.files import LargePictureError
from cliphouse.pictures.raw import read_raw
from cliphouse.pictures.video import frame_times, read_frame, read_length, read_scenes, split_frame
from cliphouse.server.settings import ServeSettings
from conftest import OpenTable
from dng import LEFT_UP, write_dng
from pictures_model import TINY
from serving import serving

COLOURS = ("red", "lime", "blue")
DECODED: list[Path] = []  # the videos whose scenes were looked for


def write_video(path: Path, seconds: int = 25, of_each: int = 10) -> Path:
    """Two frames a second, all of one colour for ``of_each`` seconds and then of the next."""
    with av.open(str(path), "w") as container:
        container.metadata["creation_time"] = "2024-05-06T07:08:09.000000Z"
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(seconds * 2):
            colour = COLOURS[number // 2 // of_each % len(COLOURS)]
            frame = av.VideoFrame.from_image(Image.new("RGB", (96, 64), colour))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def colour_of(image: Image.Image) -> str:
    red, green, blue = np.asarray(image).reshape(-1, 3).mean(axis=0)
    return COLOURS[int(np.argmax((red, green, blue)))]


def test_frames_are_those_of_their_time(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a#t=5.mp4")
    assert read_length(clip) == 25
    assert frame_times(25, 10) == [0, 10, 20]
    assert (frame_times(20, 10), frame_times(0, 10)) == ([0, 10], [0])
    for seconds, colour in ((0, "red"), (9.5, "red"), (10, "lime"), (19.9, "lime"), (24, "blue")):
        image, photograph = read_frame(clip, seconds, 10**6)
        assert colour_of(image) == colour
        assert image.size == (96, 64)
        assert str(photograph.taken) == "2024-05-06 07:08:09"
    assert split_frame(f"{clip}#t=19.9") == (str(clip), 19.9)
    assert split_frame("a.jpg#t=5") == ("a.jpg#t=5", None)
    assert split_frame(str(clip)) == (str(clip), None)
    with pytest.raises(LargePictureError):
        read_frame(clip, 0, 100)
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(PictureError, match=r"bad\.mp4: cannot be read as a video"):
        read_length(tmp_path / "bad.mp4")


def follow(folder: Path, every: float | None = None, scenes: bool = False) -> EmbedReport:
    options = EmbedOptions(every=every, scenes=scenes, on_scenes=DECODED.append)
    return embed_folder(folder, folder.parent / "s", TINY, None, options)


def write_scenes(path: Path) -> list[float]:
    """Pictures of noise, each of which moves on slowly and then gives way to the next, one of them
    for a tenth of a second only. Returns when scenes begin: the flash and what follows are one."""
    random = np.random.default_rng(0)
    lengths = (3.0, 2.4, 0.1, 4.0, 1.5)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for place, length in enumerate(lengths):
            noise = random.integers(0, 40, (64, 160, 3), "u1") + np.uint8(place % 2 * 120 + 40)
            for number in range(round(length * 10)):
                part = np.ascontiguousarray(noise[:, number : number + 96])
                frame = av.VideoFrame.from_ndarray(part, format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return [0, 3, 5.4, 9.5]


def test_a_row_for_each_scene(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    wanted = write_scenes(folder / "cut.mp4")
    assert read_scenes(folder / "cut.mp4") == wanted
    write_video(folder / "colours.mp4")
    DECODED.clear()
    assert follow(folder, scenes=True).new == len(wanted) + 3
    assert [path.name for path in DECODED] == ["colours.mp4", "cut.mp4"]
    assert follow(folder).changes.is_none  # as it was told before
    (folder / "cut.mp4").rename(folder / "renamed.mp4")
    assert follow(folder).renamed == len(wanted)
    assert follow(folder, every=100).gone == len(wanted) + 1
    assert follow(folder).changes.is_none
    assert len(DECODED) == 2
    (folder / "bad.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(PictureError, match=r"bad\.mp4: cannot be read as a video"):
        read_scenes(folder / "bad.mp4")
    with pytest.raises(UserError, match=r"--scenes, --every"):
        follow(folder, every=1, scenes=True)


def test_shards_follow_videos(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    clip = write_video(folder / "clip.mp4")
    assert follow(folder).new == 3
    assert follow(folder).changes.is_none
    clip.rename(folder / "renamed.mp4")
    assert follow(folder).renamed == 3
    done = follow(folder, every=5)
    assert (done.new, done.gone, done.unchanged) == (2, 0, 3)
    assert follow(folder).changes.is_none  # as it was told before
    write_video(folder / "renamed.mp4", seconds=14)
    done = follow(folder)
    assert (done.changed, done.gone, done.new) == (3, 2, 0)


def test_a_table_of_videos_and_raw_photographs(tmp_path: Path, open_table: OpenTable) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    clip = write_video(folder / "clip.mp4")
    (folder / "clip.txt").write_text("three colours")
    write_dng(folder / "a red photograph.dng", (255, 0, 0))
    for name in ("bad.avi", "bad.cr2"):
        (folder / name).write_bytes(b"neither one nor the other" * 100)
    table = open_table(model="tiny")
    done = table.sync(folder)
    assert {item.path.name for item in done.pictures.skipped} == {"bad.avi", "bad.cr2"}
    hits = table.search("three colours", modality="text", where="frame_time >= 0")
    assert {hit.url: hit.frame_time for hit in hits} == {
        f"{clip}#t={seconds}": seconds for seconds in (0, 10, 20)
    }
    assert {(hit.caption, hit.video_seconds) for hit in hits} == {("three colours", 25)}
    (photograph,) = table.search("red", where="isNull(frame_time)")
    assert (photograph.caption, photograph.width) == ("a red photograph", 320)
    assert photograph.camera == "Cliphouse Standin 1"
    table.close()
    settings = ServeSettings(db=str(tmp_path / "laion.chdb"), pictures=(folder,))
    with serving(settings) as service:
        for hit in (*hits, photograph):
            shown = service.http.get(f"/api/image/{hit.id}")
            assert shown.headers["content-type"] == "image/jpeg"
            colour = colour_of(Image.open(io.BytesIO(shown.content)))
            assert colour == COLOURS[int((hit.frame_time or 0) // 10)]
        file = service.http.get(f"/api/image/{hits[0].id}/file")
        assert file.headers["content-type"] == "video/mp4"
        assert file.content == clip.read_bytes()


def test_without_the_extras_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.NEF").write_bytes(b"raw")
    (tmp_path / "b.mov").write_bytes(b"video")
    assert len(walk.walk(tmp_path).pictures) == 2
    monkeypatch.setattr(walk, "can_read_raw", lambda: False)
    monkeypatch.setattr(walk, "can_read_videos", lambda: False)
    contents = walk.walk(tmp_path)
    assert contents.pictures == []
    assert [(item.kind, item.reason) for item in contents.passed] == [
        ("raw", "a RAW photograph; to read such: pip install 'cliphouse[raw]'"),
        ("video", "a video; to read its frames: pip install 'cliphouse[video]'"),
    ]


def test_a_raw_photograph_is_its_preview_or_is_developed(tmp_path: Path) -> None:
    preview = Image.new("RGB", (640, 480), "lime")
    write_dng(tmp_path / "preview.DNG", (255, 0, 0), preview, turn=LEFT_UP)
    image, size, photograph = read_raw(tmp_path / "preview.DNG", 10**6)
    assert (colour_of(image), image.size, size) == ("lime", (480, 640), (240, 320))
    assert (photograph.camera, photograph.orientation) == ("Cliphouse Standin 1", LEFT_UP)
    assert str(photograph.taken) == "2024-05-06 07:08:09"
    write_dng(tmp_path / "developed.dng", (0, 0, 255), turn=LEFT_UP)
    image, size, photograph = read_raw(tmp_path / "developed.dng", 10**6)
    assert (colour_of(image), image.size, size) == ("blue", (120, 160), (240, 320))
    assert photograph.orientation == LEFT_UP
    write_dng(tmp_path / "icon.dng", (0, 0, 255), preview.resize((160, 120)))
    assert colour_of(read_raw(tmp_path / "icon.dng", 10**6)[0]) == "blue"
    with pytest.raises(LargePictureError):
        read_raw(tmp_path / "icon.dng", 100)
    (tmp_path / "bad.nef").write_bytes(b"no photograph" * 100)
    with pytest.raises(PictureError, match=r"bad\.nef: cannot be read as a RAW photograph"):
        read_raw(tmp_path / "bad.nef", 10**6)
