"""The tables on offer, and every question to them: bounded, batched, and given up when its client
has gone."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cliphouse.errors import MissingError, OverloadError, PictureError, QueryError
from cliphouse.inspection.statistics import TableStatistics
from cliphouse.inspection.summary import TableSummary
from cliphouse.models import Encoder
from cliphouse.pictures.files import read_picture
from cliphouse.pictures.public import FetchLimits, fetch_public
from cliphouse.search.query.operand import Operand, require_positive
from cliphouse.search.request import Request
from cliphouse.search.results import SearchResult
from cliphouse.server.encoders import Encoders
from cliphouse.server.encoding import EncoderThread
from cliphouse.server.metrics import Metrics
from cliphouse.server.settings import MAX_DEPTH, ServeSettings
from cliphouse.server.workers import Tables, Workers
from cliphouse.table import Table

log = logging.getLogger("cliphouse.server")
Fetch = Callable[[str], bytes]
_Result = TypeVar("_Result")
_FETCHES = 8
_DECODERS = 2  # a large picture takes some hundred megabytes while it is decoded
_LEAST_LENGTH = 1e-6


class Service:
    """Searches ``settings.tables`` for many clients at once.

    ``start`` opens the database and loads the encoders; ``close`` finishes what was taken on. All
    other methods belong to one event loop. Where it has as much to do as it takes on, they raise
    OverloadError. Cancelling a call takes it out of the line.
    """

    def __init__(self, settings: ServeSettings, fetch: Fetch | None = None) -> None:
        """``fetch`` gets a picture's bytes from its URL; by default from public addresses only."""
        self.settings = settings
        self.metrics = Metrics()
        self._fetch = fetch or self._fetch_public
        self._workers: Workers | None = None
        self._encoding: EncoderThread | None = None
        self._encoders = Encoders(settings.model_dir)
        self._columns: dict[str, frozenset[str]] = {}
        self._inside = 0
        self._admissions = 0
        self._fetching = ThreadPoolExecutor(_FETCHES, "fetch")
        self.decoding = ThreadPoolExecutor(_DECODERS, "decode")

    @property
    def tables(self) -> list[str]:
        """The names of the tables; the first is the default."""
        return list(self.settings.tables)

    @property
    def is_ready(self) -> bool:
        return self._workers is not None

    def start(self) -> list[str]:
        """Open the tables and load the encoders; returns a line for each table that cannot be
        searched by words, or by pictures, saying why.

        Raises TableError where a table is not there or another process holds the database.
        """
        tables = self._open_tables()
        try:
            for name, table in tables.items():
                self._encoders.warm(table)
                self._columns[name] = frozenset(c.name for c in table.summary().columns)
            self._encoding = EncoderThread(self.metrics)
            self._workers = Workers(self._open_tables, self.settings.workers)
        finally:
            for table in tables.values():
                table.close()
        self.metrics.watch(self._workers, self._encoding)
        return self._encoders.problems()

    def close(self) -> None:
        """Finish what was taken on, and let go of the database."""
        workers, self._workers = self._workers, None
        for pool in (self._fetching, self.decoding):
            pool.shutdown()
        if self._encoding is not None:
            self._encoding.close()
        if workers is not None:
            workers.close()

    async def search(
        self,
        table: str | None,
        operands: Sequence[Operand],
        request: Request,
        count: bool = False,
    ) -> SearchResult:
        """The rows of ``table`` (None: the default) nearest to the sum of ``operands``; ``count``
        asks for the rows read, which are known if nothing else ran beside it.

        Raises MissingError if there is no such table, QueryError, PictureError or ModelError
        if the query cannot be asked, EngineError if the database fails.
        """
        return (await self.search_many(table, [operands], request, count))[0]

    async def search_many(
        self,
        table: str | None,
        queries: Sequence[Sequence[Operand]],
        request: Request,
        count: bool = False,
    ) -> list[SearchResult]:
        """A result for each query, all asked alike; words are encoded together. They count as one
        request of a client."""
        name = self.resolve(table)
        _check_depth(request)
        for operands in queries:
            require_positive(operands)
            if self.settings.log_queries:
                shown = " + ".join(operand.describe() for operand in operands)
                log.info("search of %s: %s", name, shown)
        with self._admitted(), self.metrics.full.time():
            started = time.perf_counter()
            asked = await asyncio.gather(*(self._encoded(name, query) for query in queries))
            encode_ms = (time.perf_counter() - started) * 1000 / max(len(queries), 1)
            gone = threading.Event()
            admissions, is_alone = self._admissions, self._is_alone()
            try:
                results = await self._work(
                    lambda tables: _search(tables[name], asked, request, gone, count and is_alone)
                )
            finally:
                gone.set()
            if self._admissions != admissions:  # the engine counts what all have read together
                results = [_uncounted(result) for result in results]
        for result in results:
            self.metrics.knn_index.observe(result.stats.search_ms / 1000)
            self.metrics.searches.labels(result.stats.mode).inc()
        return [
            replace(
                result,
                stats=replace(result.stats, encode_ms=encode_ms),
                cursor=result.cursor if request.needed < MAX_DEPTH else None,
            )
            for result in results
        ]

    async def items(self, table: str | None, ids: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of ``ids`` that are there, in that order, without embeddings."""
        name = self.resolve(table)
        with self._admitted(), self.metrics.metadata_get.time():
            return await self._work(lambda tables: tables[name].items(ids))

    async def info(self, table: str | None) -> TableSummary:
        """What a table holds."""
        name = self.resolve(table)
        with self._admitted():
            return await self._work(lambda tables: tables[name].summary())

    def columns(self, table: str | None) -> frozenset[str]:
        """The names of a table's columns, as they were at the start."""
        return self._columns[self.resolve(table)]

    async def statistics(self, table: str | None) -> TableStatistics:
        """What a table's rows are like."""
        name = self.resolve(table)
        with self._admitted():
            return await self._work(lambda tables: tables[name].statistics())

    async def spell_out(
        self, table: str | None, operands: Sequence[Operand], request: Request
    ) -> str:
        """A search as a SQL statement to copy (see cliphouse.search.literal)."""
        name = self.resolve(table)
        with self._admitted():
            return await self._work(lambda tables: tables[name].spell_out(operands, request))

    def resolve(self, table: str | None) -> str:
        """The table's name, the default's for None. Raises MissingError where it is not served."""
        if table is None:
            return self.settings.tables[0]
        if table not in self.settings.tables:
            raise MissingError(f"no table {table[:100]!r}; there are {', '.join(self.tables)}")
        return table

    def _open_tables(self) -> Tables:
        settings = self.settings
        opened: dict[str, Table] = {}
        try:
            for name in settings.tables:
                opened[name] = Table(settings.db, name, settings.model, settings.model_dir)
                _ = opened[name].info  # a table that is not there must be told at once
        except BaseException:
            for table in opened.values():
                table.close()
            raise
        return opened

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Room for one request more, from its first step to its last.

        Raises OverloadError where there is none.
        """
        if self._workers is None:
            raise OverloadError("the service is starting or ending; ask again", retry_after=2)
        if self._inside >= self.settings.workers + self.settings.limits.queue:
            self.metrics.overloaded.inc()
            raise OverloadError(
                f"{self._inside} requests are under way, as many as are taken on; ask again later"
            )
        self._inside += 1
        self._admissions += 1
        try:
            yield
        finally:
            self._inside -= 1

    def _is_alone(self) -> bool:
        """Whether nothing runs but the request that asks; what a client left behind still may."""
        return self._inside == 1 and self._workers is not None and self._workers.running == 0

    async def _work(self, work: Callable[[Tables], _Result]) -> _Result:
        assert self._workers is not None
        asked = time.perf_counter()

        def timed(tables: Tables) -> _Result:
            self.metrics.queue_wait.observe(time.perf_counter() - asked)
            return work(tables)

        return await self._workers.run(timed)

    async def _encoded(self, table: str, operands: Sequence[Operand]) -> list[Operand]:
        return await asyncio.gather(*(self._read(table, operand) for operand in operands))

    async def _read(self, table: str, operand: Operand) -> Operand:
        """What a worker can search for: a vector or a row, never a file of this machine."""
        if operand.id is not None:
            return operand
        if operand.vector is not None:
            return replace(operand, vector=_vector(operand))
        if operand.words is not None:
            encoder = self._encoders.get(table, "words")
            words = await self._encode(encoder, operand.words)
            return Operand(vector=words, weight=operand.weight, made_of="text")
        picture = await self._read_picture(table, await self._picture(operand))
        return Operand(vector=picture, weight=operand.weight, made_of="image")

    async def _picture(self, operand: Operand) -> bytes:
        if operand.picture_url is None:
            assert isinstance(operand.picture, bytes)
            return operand.picture
        url = operand.picture_url
        with self.metrics.download.time():
            return await _in(self._fetching, lambda: self._fetch(url))

    async def _read_picture(self, table: str, data: bytes) -> NDArray[np.float32]:
        limits = self.settings.limits
        if len(data) > limits.picture_bytes:
            raise PictureError(f"the picture is larger than {limits.picture_bytes:,} bytes")
        encoder = self._encoders.get(table, "pictures")

        def decode() -> Image.Image:
            picture = read_picture(io.BytesIO(data), "the picture", limits.picture_pixels)
            return encoder.shrink(picture)

        with self.metrics.image_prepro.time():
            image = await _in(self.decoding, decode)
        return await self._encode(encoder, image)

    def _fetch_public(self, url: str) -> bytes:
        limits = FetchLimits(max_bytes=self.settings.limits.picture_bytes)
        return fetch_public(url, limits, allow_networks=self.settings.picture_networks)

    async def _encode(self, encoder: Encoder, item: str | Image.Image) -> NDArray[np.float32]:
        assert self._encoding is not None
        return await self._encoding.encode(encoder, item)


def _check_depth(request: Request) -> None:
    if request.needed > MAX_DEPTH:
        raise QueryError(
            f"row {request.needed:,} of a search is asked for; here it goes down to {MAX_DEPTH:,}"
        )


def _search(
    table: Table,
    asked: Sequence[Sequence[Operand]],
    request: Request,
    gone: threading.Event,
    count: bool,
) -> list[SearchResult]:
    """A result for each, or fewer where nobody wants them any more."""
    results: list[SearchResult] = []
    for operands in asked:
        if gone.is_set():
            break
        results += table.search_many([operands], request, count)
    return results


def _uncounted(result: SearchResult) -> SearchResult:
    return replace(result, stats=replace(result.stats, rows_read=None))


def _vector(operand: Operand) -> NDArray[np.float32]:
    """Its length must not vanish among numbers of 32 bits."""
    values = np.asarray(operand.vector, dtype=np.float64)
    if not np.linalg.norm(values) >= _LEAST_LENGTH:
        raise QueryError(f"the vector is shorter than {_LEAST_LENGTH}; it has no direction")
    return values.astype(np.float32)


async def _in(pool: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
    return await asyncio.get_running_loop().run_in_executor(pool, work)
