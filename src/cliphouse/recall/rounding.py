"""Measures what rounding to bfloat16 costs: the table's exact answers against the shards' own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cliphouse.errors import ShardError
from cliphouse.recall.nearest import Nearest
from cliphouse.recall.questions import sample_rows
from cliphouse.schema.facts import TableFacts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.filter import Filter
from cliphouse.search.methods.method import exact_plan
from cliphouse.search.query.vector import QueryVector
from cliphouse.search.request import Request
from cliphouse.search.run import Searcher
from cliphouse.search.statement import condition_of
from cliphouse.shards.npy import NpyFile
from cliphouse.shards.numbering import ID_BITS
from cliphouse.shards.reader import ShardReader
from cliphouse.shards.source import ShardSource, Source
from cliphouse.vocabulary import Modality

_BLOCK_ROWS = 20_000


@dataclass(frozen=True)
class RoundingCost:
    """How much of the top k over the shards' own vectors is in the table's exact top k: the mean
    share over ``queries`` queries of one kind."""

    modality: Modality
    query: Modality
    k: int
    recall: float
    queries: int


def measure_rounding(
    table: TableHandle,
    facts: TableFacts,
    sources: Sequence[Source],
    request: Request,
    queries: int,
) -> tuple[RoundingCost, ...]:
    """Compare exact searches of the table with brute force over the shards' files.

    Both use the modality, metric and k of ``request``, and only rows of these shards that are still
    in the table. Queries are rows of the table, with the vectors of the files. The files are read
    once for each kind of query, a block at a time.

    Raises ShardError if the table has no rows of the shards, if they are CSV files, or if they lack
    embeddings that the table has.
    """
    readers = {source.number: _reader(source) for source in sources}
    k, modality = request.k, request.modality
    request = replace(request, k=k + 1, filter=Filter(shards=tuple(readers)))
    searcher = Searcher(table, facts)
    condition = condition_of(request, facts)
    assert condition is not None
    present = table.connection.query(f"SELECT id FROM {table.sql} WHERE {condition.sql}")
    known = np.sort(present.column("id").to_numpy())
    if not len(known):
        raise ShardError(
            f"table {table.name} has no rows of these shards; give the shards it was loaded from"
        )
    costs = []
    for kind in facts.info.modalities:
        ids = [s.id for s in sample_rows(table, kind, queries, condition)]
        vectors = np.concatenate([_row(readers[i >> ID_BITS], kind, i) for i in ids])
        truth = _brute_force(readers.values(), request, vectors, known)
        shares = []
        for row_id, vector, nearest in zip(ids, vectors, truth, strict=True):
            plan = exact_plan("compared with the shards' own vectors")
            found = searcher.run(QueryVector(vector, kind), request, plan, condition)
            mine = [hit.id for hit in found.hits if hit.id != row_id][:k]
            wanted = [i for i in nearest if i != row_id][:k]
            shares.append(len(set(mine) & set(wanted)) / max(len(wanted), 1))
        costs.append(RoundingCost(modality, kind, k, float(np.mean(shares)), len(ids)))
    return tuple(costs)


def _brute_force(
    readers: Iterable[ShardReader],
    request: Request,
    queries: NDArray[np.float32],
    known: NDArray[np.int64],
) -> list[list[int]]:
    """The ids of the ``request.k`` nearest of the ``known`` rows (sorted ids) for each query, best
    first."""
    nearest = Nearest(queries, request.metric, request.k)
    for reader in readers:
        for start in range(0, reader.rows, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, reader.rows)
            block = reader.ids(start, stop)
            rows = _column(reader, request.modality).read(start, stop).astype(np.float32)
            is_known = np.isin(block, known, assume_unique=True)
            nearest.add(block[is_known], rows[is_known])
    return nearest.ids()


def _row(reader: ShardReader, modality: Modality, row_id: int) -> NDArray[np.float32]:
    row = reader.place(row_id)
    return _column(reader, modality).read(row, row + 1).astype(np.float32)


def _column(reader: ShardReader, modality: Modality) -> NpyFile:
    column = reader.image if modality == "image" else reader.text
    if column is None:
        raise ShardError(f"shard {reader.shard.number}: it has no {modality} embeddings")
    return column


def _reader(source: Source) -> ShardReader:
    if not isinstance(source, ShardSource):
        raise ShardError(f"shard {source.number}: rounding is measured against .npy files")
    return source.reader
