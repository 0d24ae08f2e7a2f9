"""The demo: every step from pictures to searches, on pictures that the package draws itself.

It needs no network and no data. One folder has everything: ``pictures/``, ``shards/``,
``laion.chdb/`` and the contact sheets. Each step does only the work that is not done yet.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cliphouse.models import load_encoder
from cliphouse.shards.disk import disk_errors
from cliphouse.shards.whole_file import whole_file
from cliphouse.vocabulary import AUTO_KS, BuildProgress, Measured, Progress

if TYPE_CHECKING:
    from cliphouse.indexing.build import BuiltIndex
    from cliphouse.loading.ingest import IngestReport
    from cliphouse.pictures.embed import EmbedReport
    from cliphouse.search.results import SearchResult

SENTENCES = ("a red heart", "two blue circles", "a large green triangle in the middle")
DEFAULT_ROWS = 5000
MODEL = "tiny"
_SEED = 400_000_000
_QUERY_SEED = 5_000_000


@dataclass(frozen=True)
class DemoSearch:
    """One search of the demo and its contact sheet. ``query`` is the argument of ``search``."""

    query: str
    result: SearchResult
    sheet: Path


class Demo:
    """The demo in one folder, of ``rows`` drawn pictures."""

    def __init__(self, folder: Path, rows: int = DEFAULT_ROWS) -> None:
        from cliphouse.table import Table

        self.folder = folder
        self.rows = rows
        self.pictures = folder / "pictures"
        self.shards = folder / "shards"
        self.database = folder / "laion.chdb"
        self.table = Table(self.database)

    def draw(self, progress: Progress) -> int:
        """Draw the pictures if they are not there; returns the number of pictures drawn."""
        from cliphouse.pictures.drawn import write_pictures

        with disk_errors(self.pictures):
            self.pictures.mkdir(parents=True, exist_ok=True)
            if len(list(self.pictures.glob("*.txt"))) >= self.rows:
                return 0
            write_pictures(
                self.pictures,
                self.rows,
                _SEED,
                jobs=os.cpu_count() or 1,
                progress=progress,
            )
        return self.rows

    def embed(self, progress: Progress) -> EmbedReport:
        from cliphouse.pictures.embed import embed_folder

        return embed_folder(self.pictures, self.shards, load_encoder(MODEL), progress)

    def ingest(self, progress: Progress) -> IngestReport:
        return self.table.ingest(self.shards, progress=progress)

    def index(self, progress: BuildProgress) -> BuiltIndex:
        return self.table.index("image", progress)

    def measure(self, progress: Progress) -> tuple[Measured, ...]:
        return self.table.recall("image", AUTO_KS, save=True, progress=progress, quick=True)

    def search(self, query: str) -> DemoSearch:
        """Search for words or a picture file, and save the contact sheet."""
        from cliphouse.pictures.files import open_picture
        from cliphouse.search.display import sheet_of

        result = self.table.search(query, k=10)
        is_picture = Path(query).is_file()
        name = "picture" if is_picture else query.replace(" ", "_")
        path = self.folder / f"found_{name}.png"
        title = "more like this" if is_picture else query
        shown = open_picture(Path(query)) if is_picture else None
        with whole_file(path) as stream:
            sheet_of(result, title, query=shown).save(stream, "PNG")
        return DemoSearch(query, result, path)

    def query_picture(self) -> Path:
        """Draw a picture that is not in the table, to search with it."""
        import numpy as np

        from cliphouse.pictures.drawn import draw
        from cliphouse.pictures.scenes import random_scene

        path = self.folder / "query.png"
        rng = np.random.default_rng(_QUERY_SEED)
        with whole_file(path) as stream:
            draw(random_scene(rng), rng).save(stream, "PNG")
        return path
