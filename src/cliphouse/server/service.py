"""The tables on offer, and every question to them: bounded, batched, and given up when its client
has gone."""

from __future__ import annotations

import asyncio
import importlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from cliphouse.errors import MissingError, ModelError, OverloadError, PictureError
from cliphouse.models import Encoder
from cliphouse.pictures.files import read_picture
from cliphouse.server.encoding import EncoderThread
from cliphouse.server.metrics import Metrics
from cliphouse.server.query import QueryPart, SearchQuery
from cliphouse.server.settings import ServeSettings
from cliphouse.server.workers import Tables, Workers
from cliphouse.table import SearchResult, Table, TableSummary
from cliphouse.table.search import Request
from cliphouse.table.vector import Combination, Operand, Query, QueryVector

Fetch = Callable[[str], bytes]
_Result = TypeVar("_Result")


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
        self._fetch = fetch or _fetch_public
        self._workers: Workers | None = None
        self._encoding: EncoderThread | None = None
        self._encoders: dict[str, Encoder | ModelError] = {}
        self._inside = 0

    @property
    def tables(self) -> list[str]:
        """The names of the tables; the first is the default."""
        return list(self.settings.tables)

    @property
    def is_ready(self) -> bool:
        return self._workers is not None

    def start(self) -> list[str]:
        """Open the tables and warm the encoders; returns a line for each table that cannot be
        searched by words and pictures, saying why.

        Raises TableError where a table is not there or another process holds the database.
        """
        tables = self._open_tables()
        try:
            for name, table in tables.items():
                self._encoders[name] = self._warm(table)
            self._encoding = EncoderThread(self.metrics)
            self._workers = Workers(self._open_tables, self.settings.workers)
        finally:
            for table in tables.values():
                table.close()
        workers = self._workers
        self.metrics.watch(lambda: workers.waiting, lambda: workers.running)
        return [f"{n}: {e}" for n, e in self._encoders.items() if isinstance(e, ModelError)]

    def close(self) -> None:
        """Finish what was taken on, and let go of the database."""
        workers, self._workers = self._workers, None
        if self._encoding is not None:
            self._encoding.close()
        if workers is not None:
            workers.close()

    async def search(self, table: str | None, query: SearchQuery) -> SearchResult:
        """The rows nearest to what ``query`` asks for in ``table`` (None: the default).

        Raises MissingError where there is no such table, QueryError, PictureError or ModelError
        where the query cannot be asked, EngineError where the database fails.
        """
        return (await self.search_many(table, [query]))[0]

    async def search_many(
        self, table: str | None, queries: Sequence[SearchQuery]
    ) -> list[SearchResult]:
        """A result for each query; words are encoded together. They count as one request."""
        name = self.resolve(table)
        requests = [query.request() for query in queries]
        with self._admitted(), self.metrics.full.time():
            started = time.perf_counter()
            asked = await asyncio.gather(*(self._combination(name, query) for query in queries))
            encode_ms = (time.perf_counter() - started) * 1000 / max(len(queries), 1)
            results = await self._work(lambda tables: _search(tables[name], asked, requests))
        for result in results:
            self.metrics.knn_index.observe(result.stats.search_ms / 1000)
        return [replace(r, stats=replace(r.stats, encode_ms=encode_ms)) for r in results]

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

    def _warm(self, table: Table) -> Encoder | ModelError:
        """The table's encoder, loaded; tables of one model share it."""
        try:
            encoder = table.encoder
            for other in self._encoders.values():
                if not isinstance(other, ModelError) and other.name == encoder.name:
                    return other
            encoder.encode_text(["warm"])
            encoder.encode_image([Image.new("RGB", (64, 64))])
        except ModelError as error:
            return error
        return encoder

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
        try:
            yield
        finally:
            self._inside -= 1

    async def _work(self, work: Callable[[Tables], _Result]) -> _Result:
        assert self._workers is not None
        asked = time.perf_counter()

        def timed(tables: Tables) -> _Result:
            self.metrics.queue_wait.observe(time.perf_counter() - asked)
            return work(tables)

        return await self._workers.run(timed)

    async def _combination(self, table: str, query: SearchQuery) -> Combination:
        parts = query.parts
        read = await asyncio.gather(*(self._read(table, part) for part in parts))
        operands = [Operand(q, part.weight) for q, part in zip(read, parts, strict=True)]
        return Combination(operands[0], tuple(operands[1:]))

    async def _read(self, table: str, part: QueryPart) -> Query:
        """What a worker can search for: never text that could name a file or an address."""
        if part.words is not None:
            return QueryVector(await self._encode(table, part.words), "text")
        if part.picture is not None:
            return await self._read_picture(table, part.picture)
        if part.picture_url is not None:
            with self.metrics.download.time():
                data = await asyncio.to_thread(self._fetch, part.picture_url)
            return await self._read_picture(table, data)
        if part.vector is not None:
            return np.array(part.vector, dtype=np.float32)
        return f"id:{part.id}"

    async def _read_picture(self, table: str, data: bytes) -> QueryVector:
        limits = self.settings.limits
        if len(data) > limits.picture_bytes:
            raise PictureError(f"the picture is larger than {limits.picture_bytes:,} bytes")
        encoder = self._encoder(table)

        def decode() -> Image.Image:
            picture = read_picture(io.BytesIO(data), "the picture", limits.picture_pixels)
            return encoder.shrink(picture)

        with self.metrics.image_prepro.time():
            image = await asyncio.to_thread(decode)
        return QueryVector(await self._encode(table, image), "image")

    async def _encode(self, table: str, item: str | Image.Image) -> Any:
        encoder = self._encoder(table)
        assert self._encoding is not None
        return await self._encoding.encode(encoder, item)

    def _encoder(self, table: str) -> Encoder:
        encoder = self._encoders[table]
        if isinstance(encoder, ModelError):
            raise ModelError(f"table {table} cannot be searched by words or pictures: {encoder}")
        return encoder


def _search(
    table: Table, asked: Sequence[Combination], requests: Sequence[Request]
) -> list[SearchResult]:
    return [
        table.search_many([combination], request)[0]
        for combination, request in zip(asked, requests, strict=True)
    ]


def _fetch_public(url: str) -> bytes:
    try:
        public = importlib.import_module("cliphouse.pictures.public")
    except ImportError:
        raise PictureError(f"{url}: pictures are not fetched from addresses yet") from None
    data: bytes = public.fetch_public(url)
    return data
