"""Runs the requests of many clients on the served tables: limited in number, batched, and cancelled
if the client disconnects."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cliphouse.errors import MissingError, OverloadError, PictureError, QueryError
from cliphouse.inspection.statistics import TableStatistics
from cliphouse.models import Encoder
from cliphouse.pictures.files import read_picture
from cliphouse.pictures.public import FetchLimits, fetch_public
from cliphouse.search.listing import Listing, RowPage, list_rows
from cliphouse.search.query.operand import Operand, require_positive
from cliphouse.search.request import Request
from cliphouse.search.results import SearchResult
from cliphouse.server.empty_columns import EmptyColumns
from cliphouse.server.encoders import THREADS, Encoders
from cliphouse.server.encoding import EncoderThread
from cliphouse.server.metrics import Metrics
from cliphouse.server.recent_urls import RecentUrls
from cliphouse.server.settings import MAX_DEPTH, ServeSettings
from cliphouse.server.timing import end_part
from cliphouse.server.word_vectors import WordVectors
from cliphouse.server.workers import Tables, Workers
from cliphouse.table import Table

log = logging.getLogger("cliphouse.server")
Fetch = Callable[[str], bytes]
_Result = TypeVar("_Result")
_FETCHES, _DECODERS = 8, 2  # a large picture takes some hundred megabytes while it is decoded
_LEAST_LENGTH = 1e-6


class Service:
    """Searches ``settings.tables`` for many clients at the same time.

    ``start`` opens the database and loads the encoders. ``close`` finishes the accepted requests.
    Call all other methods from one event loop. They raise OverloadError if the queue is full.
    Cancelling a call removes it from the queue.
    """

    def __init__(self, settings: ServeSettings, fetch: Fetch | None = None) -> None:
        """``fetch`` returns the bytes of a picture's URL; by default from public addresses only."""
        self.settings = settings
        self.metrics = Metrics()
        self._fetch = fetch or self._fetch_public
        self._workers: Workers | None = None
        self._encoding: EncoderThread | None = None
        self._encoders = Encoders()
        self._word_vectors = WordVectors(self.metrics)
        self._urls = RecentUrls()
        self.empty_columns = EmptyColumns()
        self._columns: dict[str, Mapping[str, str]] = {}
        self._active = 0
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
        """Open the tables and load the encoders.

        Returns a line with the reason for each table that cannot be searched by words or by
        pictures. Raises TableError if a table does not exist or another process holds the database.
        """
        tables = self.open_tables()
        try:
            for name, table in tables.items():
                self._encoders.load(table)
                summary = table.summary()
                self._columns[name] = {c.name: c.type for c in summary.columns}
                self.empty_columns.look(table.handle, summary)
            self._encoding = EncoderThread(self.metrics)
            self._workers = Workers(self.open_tables, self.settings.workers)
        finally:
            for table in tables.values():
                table.close()
        self.metrics.watch(self._workers, self._encoding, self._word_vectors)
        return self._encoders.problems()

    def close(self) -> None:
        """Finish the accepted requests and close the database."""
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
        """Find the rows of ``table`` (None: the default) nearest to the sum of ``operands``.

        With ``count`` the result has the number of rows read, if no other request ran at the same
        time. Raises MissingError if there is no such table, QueryError, PictureError or ModelError
        if the query is not possible, EngineError if the database fails.
        """
        return (await self.search_many(table, [operands], request, count))[0]

    async def search_many(
        self,
        table: str | None,
        queries: Sequence[Sequence[Operand]],
        request: Request,
        count: bool = False,
    ) -> list[SearchResult]:
        """Find the nearest rows for each query, with the same options.

        Words are encoded in one batch. The queries count as one request. Raises what ``search``
        raises.
        """
        end_part("validate")
        name = self.resolve(table)
        _check_depth(request)
        for operands in queries:
            require_positive(operands)
            if self.settings.log_queries:
                shown = " + ".join(operand.describe() for operand in operands)
                log.info("search of %s: %s", name, shown)
        with self._admitted(), self.metrics.full.time():
            started = time.perf_counter()
            encoded = await _all([self._encoded(name, query) for query in queries])
            end_part("encode")
            encode_ms = (time.perf_counter() - started) * 1000 / max(len(queries), 1)
            cancelled = threading.Event()
            admissions, is_alone = self._admissions, self._is_alone()
            try:
                results = await self._work(
                    lambda tables: _search(
                        tables[name], encoded, request, cancelled, count and is_alone
                    )
                )
            finally:
                cancelled.set()
            if count and self._admissions != admissions:  # the count includes other requests
                results = [_uncounted(result) for result in results]
        for result in results:
            self.metrics.knn_index.observe(result.stats.search_ms / 1000)
            self.metrics.searches.labels(result.stats.mode).inc()
            if self.settings.pictures:
                self._urls.keep(name, result.hits)
        return [
            replace(
                result,
                stats=replace(result.stats, encode_ms=encode_ms),
                cursor=result.cursor if request.needed < MAX_DEPTH else None,
            )
            for result in results
        ]

    async def items(self, table: str | None, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Get the rows with these ``ids`` that exist, in that order, without embeddings."""
        name = self.resolve(table)
        with self._admitted(), self.metrics.metadata_get.time():
            return await self._work(lambda tables: tables[name].items(ids))

    async def url(self, table: str | None, row: int) -> str:
        """The URL of a row, as it is or was within the last ten seconds.

        Raises MissingError if there is no such row.
        """
        name = self.resolve(table)
        url = self._urls.get(name, row)
        if url is not None:
            return url
        rows = await self.items(name, [row])
        if not rows:
            raise MissingError(f"table {name} has no row {row}")
        return str(rows[0].get("url", ""))

    async def rows(self, table: str | None, listing: Listing) -> RowPage:
        """List rows in the order of a column."""
        page = await self.read(table, lambda one: list_rows(one.handle, listing))
        self.listed(table, page)
        return page

    def listed(self, table: str | None, page: RowPage) -> None:
        """Take note that a client is about to ask for the pictures of a page of rows."""
        if self.settings.pictures:
            self._urls.keep_rows(self.resolve(table), page.rows)

    def columns(self, table: str | None) -> Mapping[str, str]:
        """A table's columns with their types, as they were at the start of the service."""
        return self._columns[self.resolve(table)]

    async def statistics(self, table: str | None) -> TableStatistics:
        """Count the statistics of a table's rows."""
        return await self.read(table, Table.statistics)

    async def spell_out(
        self, table: str | None, operands: Sequence[Operand], request: Request
    ) -> str:
        """Write a search as a SQL statement to copy (see cliphouse.search.literal)."""
        return await self.read(table, lambda one: one.spell_out(operands, request))

    async def read(self, table: str | None, work: Callable[[Table], _Result]) -> _Result:
        """Run ``work`` with a table in a worker, as one of the requests that are admitted."""
        name = self.resolve(table)
        with self._admitted():
            return await self._work(lambda tables: work(tables[name]))

    def resolve(self, table: str | None) -> str:
        """The table's name; None means the default. Raises MissingError if it is not served."""
        if table is None:
            return self.settings.tables[0]
        if table not in self.settings.tables:
            verb = "is" if len(self.tables) == 1 else "are"
            there = ", ".join(self.tables)
            raise MissingError(f"no table {table[:100]!r}; there {verb} {there}")
        return table

    def open_tables(self) -> Tables:
        """The served tables, for one thread. Raises TableError if one does not exist."""
        settings = self.settings
        opened: dict[str, Table] = {}
        try:
            for name in settings.tables:
                opened[name] = Table(
                    settings.db,
                    name,
                    settings.model,
                    settings.model_dir,
                    device=settings.device,
                    threads=settings.threads or THREADS,
                    wait=settings.patience,
                )
                _ = opened[name].info  # raises TableError now if the table does not exist
        except BaseException:
            for table in opened.values():
                table.close()
            raise
        return opened

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Admit a request and count it until the block ends.

        Raises OverloadError if the queue is full.
        """
        if self._workers is None:
            raise OverloadError("the service is starting or stopping; try again", retry_after=2)
        if self._active >= self.settings.workers + self.settings.limits.queue:
            self.metrics.overloaded.inc()
            raise OverloadError(
                f"{self._active} requests are running or waiting, the most allowed; try again later"
            )
        self._active += 1
        self._admissions += 1
        try:
            yield
        finally:
            self._active -= 1

    def _is_alone(self) -> bool:
        """Whether no other request runs, not even one whose client has disconnected."""
        return self._active == 1 and self._workers is not None and self._workers.running == 0

    async def _work(self, work: Callable[[Tables], _Result]) -> _Result:
        assert self._workers is not None
        queued = time.perf_counter()

        def timed(tables: Tables) -> tuple[_Result, float, float]:
            begun = time.perf_counter()
            self.metrics.queue_wait.observe(begun - queued)
            return work(tables), begun, time.perf_counter()

        result, begun, done = await self._workers.run(timed)
        end_part("queue", begun)
        end_part("database", done)
        end_part("return")
        return result

    async def _encoded(self, table: str, operands: Sequence[Operand]) -> list[Operand]:
        return await _all([self._read(table, operand) for operand in operands])

    async def _read(self, table: str, operand: Operand) -> Operand:
        """An operand for a worker: a vector or a row, never a local file."""
        if operand.id is not None:
            return operand
        if operand.vector is not None:
            return replace(operand, vector=_vector(operand))
        if operand.words is not None:
            words = await self._read_words(table, operand.words)
            return Operand(vector=words, weight=operand.weight, made_of="text")
        picture = await self._read_picture(table, await self._picture(operand))
        return Operand(vector=picture, weight=operand.weight, made_of="image")

    async def _read_words(self, table: str, words: str) -> NDArray[np.float32]:
        encoder = self._encoders.get(table, "words")
        vector = self._word_vectors.get(encoder.name, words)
        if vector is None:
            vector = await self._encode(encoder, words)
            self._word_vectors.keep(encoder.name, words, vector)
        return vector

    async def _picture(self, operand: Operand) -> bytes:
        if operand.picture_url is None:
            assert isinstance(operand.picture, bytes)
            return operand.picture
        url = operand.picture_url
        with self.metrics.download.time():
            return await _run_in(self._fetching, lambda: self._fetch(url))

    async def _read_picture(self, table: str, data: bytes) -> NDArray[np.float32]:
        limits = self.settings.limits
        if len(data) > limits.picture_bytes:
            raise PictureError(f"the picture is larger than {limits.picture_bytes:,} bytes")
        encoder = self._encoders.get(table, "pictures")

        def decode() -> Image.Image:
            picture = read_picture(io.BytesIO(data), "the picture", limits.picture_pixels)
            return encoder.shrink(picture)

        with self.metrics.image_prepro.time():
            image = await _run_in(self.decoding, decode)
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
            f"this search needs {request.needed:,} rows; the service allows {MAX_DEPTH:,}"
        )


def _search(
    table: Table,
    queries: Sequence[Sequence[Operand]],
    request: Request,
    cancelled: threading.Event,
    count: bool,
) -> list[SearchResult]:
    """A result for each query. Stops early if the request is cancelled."""
    results: list[SearchResult] = []
    for operands in queries:
        if cancelled.is_set():
            break
        results += table.search_many([operands], request, count)
    return results


def _uncounted(result: SearchResult) -> SearchResult:
    return replace(result, stats=replace(result.stats, rows_read=None))


def _vector(operand: Operand) -> NDArray[np.float32]:
    """The operand's vector as float32. Raises QueryError if it is too short to have a direction."""
    values = np.asarray(operand.vector, dtype=np.float64)
    if not np.linalg.norm(values) >= _LEAST_LENGTH:
        raise QueryError(f"the vector is shorter than {_LEAST_LENGTH}; it has no direction")
    return values.astype(np.float32)


async def _all(works: Sequence[Coroutine[None, None, _Result]]) -> list[_Result]:
    """Await all at the same time. A single one, the usual case, needs no task of its own."""
    if len(works) == 1:
        return [await works[0]]
    return await asyncio.gather(*works)


async def _run_in(pool: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
    return await asyncio.get_running_loop().run_in_executor(pool, work)
