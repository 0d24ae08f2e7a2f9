"""Metrics for Prometheus: the time of each step, errors, and the length of the queues.

The steps keep the names that clip-retrieval gave them, so its dashboards still work.
"""

from __future__ import annotations

from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

from cliphouse.search.methods import METHODS

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCHES = (1, 2, 4, 8, 16, 32)


class Queue(Protocol):
    """A queue of work."""

    @property
    def waiting(self) -> int: ...


class Cache(Protocol):
    """Values that are kept for later requests."""

    @property
    def bytes(self) -> int: ...


class Pool(Queue, Protocol):
    """A queue, and the workers that take from it."""

    @property
    def running(self) -> int: ...


class Metrics:
    """The metrics of one service, in their own registry. Times are in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.full = self._step("full_knn_request_time", "Time spent processing knn request")
        self.download = self._step("download_time", "Time spent downloading an url")
        self.text_clip = self._step(
            "text_clip_inference_time", "Time spent doing a text clip inference, of one batch"
        )
        self.image_clip = self._step(
            "image_clip_inference_time", "Time spent doing a image clip inference, of one batch"
        )
        self.image_prepro = self._step(
            "image_prepro_time", "Time spent doing the image preprocessing"
        )
        self.knn_index = self._step("knn_index_time", "Time spent doing a knn on the index")
        self.metadata_get = self._step("metadata_get_time", "Time spent retrieving metadata")
        self.queue_wait = self._step(
            "cliphouse_queue_time", "Time a search waited for a free worker"
        )
        self.batch = Histogram(
            "cliphouse_encode_batch_size",
            "The number of queries in a batch",
            buckets=_BATCHES,
            registry=self.registry,
        )
        self.word_hits = Counter(
            "cliphouse_word_cache_hits",
            "Words whose vector was kept from an earlier search",
            registry=self.registry,
        )
        self.word_misses = Counter(
            "cliphouse_word_cache_misses", "Words that were encoded", registry=self.registry
        )
        self.searches = Counter(
            "cliphouse_searches", "Searches by mode", ("mode",), registry=self.registry
        )
        for mode in METHODS:
            self.searches.labels(mode)  # report 0 before the first search
        self.requests = Counter(
            "cliphouse_requests",
            "Answers by route and status",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.request_time = Histogram(
            "cliphouse_request_time",
            "Time from a request to its answer, by route",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.errors = Counter(
            "cliphouse_errors", "Requests that failed, by error", ("type",), registry=self.registry
        )
        self.overloaded = Counter(
            "cliphouse_overloaded",
            "Requests refused because the queue or the memory for bodies is full",
            registry=self.registry,
        )
        self.disconnected = Counter(
            "cliphouse_gone",
            "Requests whose client disconnected before the answer",
            registry=self.registry,
        )

    def watch(self, workers: Pool, encoding: Queue, words: Cache) -> None:
        """Add gauges that read the lengths of the queues, and a cache's size, on each request."""
        for name, text, read in (
            ("cliphouse_queue_length", "Searches that wait for a worker", lambda: workers.waiting),
            ("cliphouse_searches_running", "Searches that run", lambda: workers.running),
            (
                "cliphouse_encode_queue_length",
                "Queries that wait to be encoded",
                lambda: encoding.waiting,
            ),
            (
                "cliphouse_word_cache_bytes",
                "Memory of the vectors kept from earlier searches by words",
                lambda: words.bytes,
            ),
        ):
            Gauge(name, text, registry=self.registry).set_function(read)

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def _step(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=_SECONDS, registry=self.registry)
