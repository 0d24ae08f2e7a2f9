"""One thread that encodes: what waits while it is busy goes through the model in one batch."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cliphouse.models import Encoder
from cliphouse.server.metrics import Metrics

MAX_BATCH = 32
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class _Wanted:
    """Words or a picture, and where its vector goes."""

    encoder: Encoder
    item: str | Image.Image
    vector: Future[Vector] = field(default_factory=Future)

    @property
    def batch(self) -> tuple[int, bool]:
        """Alike for what one call of an encoder takes."""
        return id(self.encoder), isinstance(self.item, str)


class EncoderThread:
    """Encodes words and pictures for everyone. An idle thread encodes at once, with no waiting for
    others; under load batches form by themselves."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._queue: queue.SimpleQueue[_Wanted | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="encoder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many queries no batch has taken."""
        return self._queue.qsize()

    async def encode(self, encoder: Encoder, item: str | Image.Image) -> Vector:
        """The vector of words or of a picture, float32 of shape (dim,). Raises ModelError where
        the model cannot be loaded. Cancelled before its turn, it is not encoded."""
        wanted = _Wanted(encoder, item)
        self._queue.put(wanted)
        return await asyncio.wrap_future(wanted.vector)

    def close(self) -> None:
        """Encode what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        is_open = True
        while is_open:
            taken = [self._queue.get()]
            while len(taken) < MAX_BATCH and not self._queue.empty():
                taken.append(self._queue.get())
            is_open = None not in taken
            self._encode([wanted for wanted in taken if wanted is not None])

    def _encode(self, taken: Sequence[_Wanted]) -> None:
        batches: dict[tuple[int, bool], list[_Wanted]] = {}
        for wanted in taken:
            if wanted.vector.set_running_or_notify_cancel():
                batches.setdefault(wanted.batch, []).append(wanted)
        for batch in batches.values():
            try:
                vectors = self._vectors(batch)
            except BaseException as error:  # noqa: BLE001 - handed over to those who wait
                for wanted in batch:
                    wanted.vector.set_exception(error)
            else:
                for wanted, vector in zip(batch, vectors, strict=True):
                    wanted.vector.set_result(vector)

    def _vectors(self, batch: Sequence[_Wanted]) -> Vector:
        encoder = batch[0].encoder
        texts = [wanted.item for wanted in batch if isinstance(wanted.item, str)]
        self._metrics.batch.observe(len(batch))
        if texts:
            with self._metrics.text_clip.time():
                return encoder.encode_text(texts)
        with self._metrics.image_clip.time():
            return encoder.encode_image(
                [wanted.item for wanted in batch if not isinstance(wanted.item, str)]
            )
