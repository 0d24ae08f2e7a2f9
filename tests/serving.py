"""A service that runs on real HTTP in a thread of the test's process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray

import cliphouse
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.embed import embed_folder
from cliphouse.server.app import create_app
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings


@dataclass(frozen=True)
class Drawn:
    """Drawn pictures, their shards, and a database of them with the tables laion and second.

    ``image`` and ``text`` are what the shards hold, float32 of shape (rows, 512).
    """

    folder: Path
    image: NDArray[np.float32]
    text: NDArray[np.float32]

    @property
    def db(self) -> Path:
        return self.folder / "laion.chdb"

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    def nearest(self, vector: NDArray[np.floating], modality: str = "image") -> list[int]:
        """All ids by cosine similarity, computed here."""
        rows = getattr(self, modality)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return [int(i) for i in np.argsort(-(unit @ (vector / np.linalg.norm(vector))))]


def draw(folder: Path, rows: int = 60) -> Drawn:
    write_pictures(folder / "pictures", rows, seed=3)
    embed_folder(folder / "pictures", folder / "shards", load_encoder("tiny"))
    for name in ("laion", "second"):
        with cliphouse.open(folder / "laion.chdb", table=name) as table:
            table.ingest(folder / "shards")
    return Drawn(
        folder,
        np.load(folder / "shards" / "img_emb" / "img_emb_0.npy").astype("f4"),
        np.load(folder / "shards" / "text_emb" / "text_emb_0.npy").astype("f4"),
    )


@dataclass(frozen=True)
class Served:
    """A service that runs: its address, itself, and a client of it."""

    url: str
    service: Service
    http: httpx.Client
    stop: Callable[[], None]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def serving(settings: ServeSettings, service: Service | None = None) -> Iterator[Served]:
    """Serve on a free port until the end of the block."""
    service = service or Service(settings)
    if not service.is_ready:
        assert service.start() == []
    listener = socket.create_server(("127.0.0.1", 0))
    started = threading.Event()
    server = _Server(create_app(settings, service), started)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join()

    try:
        assert started.wait(30)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=60) as http:
            yield Served(url, service, http, stop)
    finally:
        stop()
        service.close()


class _Server(uvicorn.Server):
    def __init__(self, app: object, started: threading.Event) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, access_log=False, ws="none"))  # type: ignore[arg-type]
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started.set()
