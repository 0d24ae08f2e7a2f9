"""A thread that encodes queries. Queries that arrive while it is busy form the next batch."""

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
class _Job:
    """Words or a picture to encode, and the future of its vector."""

    encoder: Encoder
    item: str | Image.Image
    vector: Future[Vector] = field(default_factory=Future)

    @property
    def batch(self) -> tuple[int, bool]:
        """A key: jobs with equal keys can share one call of the encoder."""
        return id(self.encoder), isinstance(self.item, str)


class EncoderThread:
    """Encodes words and pictures for all requests, in batches under load.

    An idle thread starts immediately. It does not wait for a batch to fill.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="encoder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of queries in the queue."""
        return self._queue.qsize()

    async def encode(self, encoder: Encoder, item: str | Image.Image) -> Vector:
        """Encode words or a picture to a vector, float32 of shape (dim,).

        A query that is cancelled in the queue is not encoded. Raises ModelError if the model cannot
        be loaded.
        """
        job = _Job(encoder, item)
        self._queue.put(job)
        return await asyncio.wrap_future(job.vector)

    def close(self) -> None:
        """Encode the queries in the queue, then stop the thread."""
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        is_open = True
        while is_open:
            taken = [self._queue.get()]
            while len(taken) < MAX_BATCH and not self._queue.empty():
                taken.append(self._queue.get())
            is_open = None not in taken
            self._encode([job for job in taken if job is not None])

    def _encode(self, taken: Sequence[_Job]) -> None:
        batches: dict[tuple[int, bool], list[_Job]] = {}
        for job in taken:
            if job.vector.set_running_or_notify_cancel():
                batches.setdefault(job.batch, []).append(job)
        for batch in batches.values():
            try:
                vectors = self._vectors(batch)
            except BaseException as error:  # noqa: BLE001 - passed on to the waiting requests
                for job in batch:
                    job.vector.set_exception(error)
            else:
                for job, vector in zip(batch, vectors, strict=True):
                    job.vector.set_result(vector)

    def _vectors(self, batch: Sequence[_Job]) -> Vector:
        encoder = batch[0].encoder
        texts = [job.item for job in batch if isinstance(job.item, str)]
        self._metrics.batch.observe(len(batch))
        if texts:
            with self._metrics.text_clip.time():
                return encoder.encode_text(texts)
        with self._metrics.image_clip.time():
            return encoder.encode_image(
                [job.item for job in batch if not isinstance(job.item, str)]
            )
