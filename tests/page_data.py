"""A small database for the tests of the page: drawn pictures, rows of the web, hostile rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

import cliphouse
from browser import ELSEWHERE
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.embed import embed_folder
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from serving import Drawn, Served, serving
from shard_files import make_shard

DRAWN = 110
COPIES = 3
COPIED = "picture_00005"
GONE = "picture_00020"
FETCHED = "https://pictures.example/query.jpg"
WEB_ROWS = 40
HOSTILE = (
    "<img src=x onerror='window.pwned=1'>",
    "</title></script><script>window.pwned=1</script>",
    '"><svg onload=window.pwned=1>\u202egpj.exe',
    "javascript:window.pwned=1",
    "{{constructor.constructor('window.pwned=1')()}}",
    "' onmouseover='window.pwned=1",
    "<a href='javascript:window.pwned=1'>click</a>",
)
HOSTILE_URLS = (
    "javascript:window.pwned=1",
    "data:text/html,<script>window.pwned=1</script>",
    'https://pictures.example/"onerror="window.pwned=1',
    " javascript:window.pwned=1",
    "https://pictures.example/<script>window.pwned=1</script>",
    "JaVaScRiPt:window.pwned=1",
    "vbscript:window.pwned=1",
)


@dataclass(frozen=True)
class PageData:
    """The tables laion (drawn, with near-duplicates and one picture that is gone), web and
    hostile, all in one database."""

    drawn: Drawn
    captions: list[str]
    urls: list[str]
    web_image: NDArray[np.float32]
    web: dict[str, list[object]]

    def row(self, name: str) -> int:
        """The row of a drawn picture by its file's name without suffix."""
        return next(i for i, url in enumerate(self.urls) if Path(url).stem == name)


def make_page_data(folder: Path) -> PageData:
    pictures = folder / "pictures"
    write_pictures(pictures, DRAWN, seed=3)
    for number in range(COPIES):
        for suffix in (".jpg", ".txt"):
            copy = pictures / f"{COPIED}_copy{number}{suffix}"
            shutil.copyfile(pictures / f"{COPIED}{suffix}", copy)
    embed_folder(pictures, folder / "shards", load_encoder("tiny"))
    (pictures / f"{GONE}.jpg").unlink()
    db = folder / "laion.chdb"
    with cliphouse.open(db) as table:
        table.ingest(folder / "shards")
        table.index("image")
        table.recall("image", queries=30, save=True, quick=True)
    web = make_shard(folder / "web", rows=WEB_ROWS, dim=512, metadata=_web_metadata())
    hostile = make_shard(folder / "hostile", rows=len(HOSTILE), dim=512, metadata=_hostile())
    for name, shard in (("web", web), ("hostile", hostile)):
        with cliphouse.open(db, table=name, model="tiny") as table:
            table.ingest(shard.folder)
    metadata = pq.read_table(folder / "shards" / "metadata" / "metadata_0.parquet").to_pydict()
    vectors = [np.load(folder / "shards" / f"{m}_emb" / f"{m}_emb_0.npy") for m in ("img", "text")]
    drawn = Drawn(folder, vectors[0].astype("f4"), vectors[1].astype("f4"))
    return PageData(
        drawn, metadata["caption"], metadata["image_path"], web.image.astype("f4"), web.metadata
    )


@contextmanager
def serve_page_data(page_data: PageData) -> Iterator[Served]:
    """Serve all of it; FETCHED is the one picture that there is elsewhere."""
    settings = ServeSettings(
        db=str(page_data.drawn.db),
        tables=("laion", "web", "hostile"),
        pictures=(page_data.drawn.pictures,),
        workers=2,
    )

    def fetch(url: str) -> bytes:
        assert url == FETCHED
        return (page_data.drawn.pictures / "picture_00007.jpg").read_bytes()

    with serving(settings, Service(settings, fetch)) as running:
        yield running


def _web_metadata() -> dict[str, list[object]]:
    rng = np.random.default_rng(7)
    labels = ["UNLIKELY"] * 25 + ["NSFW"] * 10 + ["UNSURE"] * 5
    return {
        "url": [
            f"{ELSEWHERE}{i}.png" if i % 4 else f"https://img.other.example/{i}.png"
            for i in range(WEB_ROWS)
        ],
        "caption": [f"picture {i} of the web" for i in range(WEB_ROWS)],
        "NSFW": [str(label) for label in rng.permutation(labels)],
        "similarity": rng.uniform(0.2, 0.4, WEB_ROWS).tolist(),
        "width": [100 + 20 * i for i in range(WEB_ROWS)],
        "height": [300] * WEB_ROWS,
        "LICENSE": ["cc-by" if i % 3 else "?" for i in range(WEB_ROWS)],
    }


def _hostile() -> dict[str, list[object]]:
    count = len(HOSTILE)
    return {
        "url": list(HOSTILE_URLS),
        "caption": list(HOSTILE),
        "NSFW": [HOSTILE[0]] * count,
        "similarity": [0.3] * count,
        "width": [200] * count,
        "height": [200] * count,
        "LICENSE": list(HOSTILE),
        "stack": list(range(count)),
    }
