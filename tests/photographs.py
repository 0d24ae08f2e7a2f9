"""Two tables of photographs, as `sync` fills them: `laion` with dates, places, folders and
duplicates, `plain` with folders alone. Some of their texts are hostile."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from PIL import ExifTags, Image

from cliphouse.table import Table
from shard_files import make_shard

ROWS = 400
PLAIN = 130
EXPOSURE = {
    ExifTags.Base.LensModel: "NIKKOR Z 24-70mm f/4 S",
    ExifTags.Base.ExposureTime: 0.008,
    ExifTags.Base.FNumber: 2.8,
    ExifTags.Base.ISOSpeedRatings: 200,
    ExifTags.Base.FocalLength: 35.0,
}
EVIL = "<img src=x onerror='window.pwned=1'>"
FOLDERS = ("", "2016", "2016/Rome", "2016/Rome/Day 1", f"2017/{EVIL}")
TOWNS = ((41.9, 12.5), (30.0, 31.2), (-33.9, 151.2))
SAME, NEAR = (12, 13), 14  # rows with the same bytes, and one that looks like them
FRAME, SECONDS = 5, 83.4  # a row of a video that browsers play: lime from BREAK on, red before
BREAK, LENGTH = 80, 90
OTHER_FRAME = 6  # a row of a video that Chromium cannot play


def taken(row: int) -> datetime | None:
    """Three years of months, in another order than that of the rows; the last rows have no date."""
    if row >= ROWS - 40:
        return None
    month = row * 7 % 36
    day = datetime(2016 + month // 12, month % 12 + 1, row % 28 + 1)
    return day + timedelta(hours=12, minutes=row % 60, seconds=row // 60)


def town(row: int) -> tuple[float, float] | None:
    """Where it was taken, to some hundred metres; one row in four does not know."""
    if row % 4 == 3:
        return None
    latitude, longitude = TOWNS[row % 4]
    return latitude + (row % 10) / 1000, longitude + (row % 7) / 1000


DAYS = [taken(row) for row in range(ROWS)]
PLACES = [town(row) for row in range(ROWS)]
FOLDER = [FOLDERS[row % len(FOLDERS)] for row in range(ROWS)]
NAMES = [f"IMG_{1000 + row}.jpg" for row in range(ROWS)]
CAPTIONS = ["a needle" if row % 50 == 0 else f"picture {row}" for row in range(ROWS)]
KEYWORDS = [["Holiday", EVIL] if row % 40 == 7 else [] for row in range(ROWS)]
TITLES = ["Needle and thread" if row == 77 else None for row in range(ROWS)]
CAMERAS = [None if row % 2 else f"Camera {EVIL}" for row in range(ROWS)]
LATITUDES = [place[0] if place else None for place in PLACES]
LONGITUDES = [place[1] if place else None for place in PLACES]
IN_ORDER = [FOLDERS[row * len(FOLDERS) // PLAIN] for row in range(PLAIN)]  # of the table plain


@dataclass(frozen=True)
class Photographs:
    """The database, and the folder of the pictures, all of which look alike."""

    db: Path
    pictures: Path

    def path(self, row: int) -> Path:
        return self.pictures / NAMES[row]

    def url(self, row: int) -> str:
        names = {FRAME: f"clip.webm#t={SECONDS}", OTHER_FRAME: "clip.avi#t=1"}
        return str(self.pictures / names.get(row, NAMES[row]))


def load_photographs(folder: Path) -> Photographs:
    """Draw and load them."""
    made = Photographs(folder / "photographs.chdb", folder / "pictures")
    made.pictures.mkdir()
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(EXPOSURE)
    Image.linear_gradient("L").resize((64, 48)).save(made.path(0), exif=exif)
    for row in range(1, ROWS):
        made.path(row).hardlink_to(made.path(0))
    _write_video(made.pictures / "clip.webm", "libvpx")
    _write_video(made.pictures / "clip.avi", "mpeg4")
    metadata: dict[str, Any] = {
        "url": [made.url(row) for row in range(ROWS)],
        "caption": CAPTIONS,
        "width": [320] * ROWS,
        "height": [240] * ROWS,
        "taken": pa.array(DAYS, pa.timestamp("s")),
        "folder": FOLDER,
        "file_name": NAMES,
        "file_bytes": [1_234_567] * ROWS,
        "file_hash": [f"{SAME[0] if row in SAME else row:032x}" for row in range(ROWS)],
        "latitude": LATITUDES,
        "longitude": LONGITUDES,
        "camera": CAMERAS,
        "title": pa.array(TITLES, pa.string()),
        "keywords": pa.array(KEYWORDS, pa.list_(pa.string())),
        "frame_time": [{FRAME: SECONDS, OTHER_FRAME: 1.0}.get(row) for row in range(ROWS)],
    }
    dated = make_shard(folder / "dated", rows=ROWS, dim=512, metadata=metadata)
    dated.image[SAME[1]] = dated.image[NEAR] = dated.image[SAME[0]]
    dated.image[NEAR][:5] = 0
    np.save(folder / "dated" / "img_emb" / "img_emb_0.npy", dated.image)
    plain = {
        name: values[:PLAIN] for name, values in metadata.items() if name in ("url", "file_name")
    }
    plain |= {"caption": CAPTIONS[:PLAIN], "folder": IN_ORDER}
    listed = make_shard(folder / "plain", rows=PLAIN, dim=512, metadata=plain)
    for name, shard in (("laion", dated), ("plain", listed)):
        with Table(made.db, name, model="tiny") as table:
            table.ingest(shard.folder)
    return made


def _write_video(path: Path, codec: str) -> None:
    """A frame a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for second in range(LENGTH):
            image = Image.new("RGB", (64, 48), "lime" if second >= BREAK else "red")
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
