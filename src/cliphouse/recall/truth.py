"""The exact answers of all queries: in one pass over the stored vectors, or by exact searches."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cliphouse.engine.arrays import vectors_of
from cliphouse.engine.quoting import settings_list
from cliphouse.errors import EngineError
from cliphouse.loading.bfloat16 import bfloat16_bits
from cliphouse.recall.nearest import Nearest
from cliphouse.recall.questions import Sample
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.hits import Hit
from cliphouse.search.methods.method import exact_plan
from cliphouse.search.query.vector import QueryVector
from cliphouse.search.request import Request
from cliphouse.search.run import Searcher
from cliphouse.vocabulary import Modality, Progress

_BLOCK_ROWS = 8192  # rows compared at once: 16 MB of 512 elements
# Bytes of vectors that arrive in a second: measured in an embedded engine (0.5 to 1e9), assumed for
# a network of 1 Gbit/s.
_EMBEDDED_BYTES, _NETWORK_BYTES = 5e8, 1e8
_PIECE = 2**20
_PLAIN = {"output_format_arrow_compression_method": "none"}


@dataclass(frozen=True)
class Exact:
    """How a table answers exactly: ``milliseconds`` are those of one search."""

    table: TableHandle
    facts: TableFacts
    milliseconds: float

    def answers(
        self, request: Request, queries: NDArray[np.float32], progress: Progress | None = None
    ) -> list[list[int]]:
        """The ids of the ``request.k`` nearest rows of each query, float32 of shape (n, dim), the
        nearest first; fewer if there are fewer."""
        queries = as_stored(queries, self.facts)
        if self._is_read_sooner(len(queries)):
            return self._read(request, queries, progress).ids()
        return [[hit.id for hit in hits] for hits in self._searched(request, queries, progress)]

    def similarity(self, samples: Sequence[Sample], modality: Modality) -> float:
        """The median cosine similarity of the samples, rows' own vectors of ``modality``, to the
        nearest other row; 1 if there is no other row."""
        request = Request(k=2, modality=modality)
        queries = as_stored(np.array([sample.vector for sample in samples]), self.facts)
        found: list[list[tuple[int, float]]]
        if self._is_read_sooner(len(queries)):
            nearest = self._read(request, queries, None)
            pairs = zip(nearest.ids(), nearest.scores(), strict=True)
            found = [list(zip(ids, scores, strict=True)) for ids, scores in pairs]
        else:
            answers = self._searched(request, queries, None)
            found = [[(hit.id, hit.score) for hit in hits] for hits in answers]
        others = []
        for sample, hits in zip(samples, found, strict=True):
            others += [score for row_id, score in hits if row_id != sample.id][:1]
        return float(np.median(others)) if others else 1.0

    def _is_read_sooner(self, queries: int) -> bool:
        """Whether to read all vectors takes less time than so many searches. So a cluster of many
        machines searches, and a laptop reads."""
        rate = _EMBEDDED_BYTES if self.facts.is_embedded else _NETWORK_BYTES
        return self.facts.vector_bytes / rate <= queries * self.milliseconds / 1000

    def _read(
        self, request: Request, queries: NDArray[np.float32], progress: Progress | None
    ) -> Nearest:
        nearest = Nearest(queries, request.metric, request.k)
        done = 0
        with closing(stored_vectors(self.table, request.modality)) as blocks:
            for ids, rows in blocks:
                nearest.add(ids, rows)
                done += len(ids)
                if progress:
                    progress(done, max(done, self.facts.rows))
        return nearest

    def _searched(
        self, request: Request, queries: NDArray[np.float32], progress: Progress | None
    ) -> list[Sequence[Hit]]:
        searcher, plan = Searcher(self.table, self.facts), exact_plan("the exact answer")
        found: list[Sequence[Hit]] = []
        for done, query in enumerate(queries, 1):
            found.append(searcher.run(QueryVector(query, "vector"), request, plan).hits)
            if progress:
                progress(done, len(queries))
        return found


def as_stored(queries: NDArray[np.float32], facts: TableFacts) -> NDArray[np.float32]:
    """The queries as a search compares them: rounded if the table's vectors are."""
    if facts.info.precision == "bfloat16":
        return bfloat16_bits(queries).view(np.float32)
    return np.ascontiguousarray(queries, dtype=np.float32)


def stored_vectors(
    table: TableHandle, modality: Modality
) -> Generator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """All rows of the table in no order, in blocks: their ids, and their vectors as float32 of
    shape (rows, dim)."""
    connection = table.connection
    settings = {n: v for n, v in _PLAIN.items() if connection.features.may_set(n, v)}
    sql = (
        f"SELECT toInt64(id) AS id, CAST({embedding_column(modality)}, 'Array(Float32)') AS vector "
        f"FROM {table.sql}" + (f" SETTINGS {settings_list(settings)}" if settings else "")
    )
    held: list[pa.RecordBatch] = []
    with closing(connection.stream(sql, "ArrowStream", {})) as pieces:
        for batch in _batches(pieces, connection.address.shown):
            held.append(batch)
            if sum(len(one) for one in held) >= _BLOCK_ROWS:
                yield _block(held, table.info.dim)
                held = []
    if held:
        yield _block(held, table.info.dim)


def _batches(pieces: Iterator[bytes], shown: str) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow stream. Raises EngineError, which names the address as ``shown``, if
    it breaks off."""
    try:
        yield from pa.ipc.open_stream(io.BufferedReader(_Pieces(pieces), _PIECE))
    except (pa.ArrowException, OSError) as error:
        for _ in pieces:  # a server says at the end what went wrong
            pass
        raise EngineError(f"{shown}: the answer broke off: {error}") from error


def _block(
    batches: list[pa.RecordBatch], dim: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    block = pa.Table.from_batches(batches)
    return block.column("id").to_numpy(), vectors_of(block.column("vector"), dim)


class _Pieces(io.RawIOBase):
    """A file of pieces that arrive one after the other."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken
