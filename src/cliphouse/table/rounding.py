"""What rounding to bfloat16 costs: a table's exact answers against those of the shards' vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cliphouse.errors import ShardError
from cliphouse.shards import ShardReader
from cliphouse.shards.npy import NpyFile
from cliphouse.shards.reader import ID_BITS
from cliphouse.shards.source import Source
from cliphouse.table.connection import Connection
from cliphouse.table.facts import TableFacts
from cliphouse.table.recall import sample_rows
from cliphouse.table.schema import Modality
from cliphouse.table.search import Filter, Plan, Request, Searcher
from cliphouse.table.search.statement import condition_of
from cliphouse.table.vector import QueryVector

_BLOCK_ROWS = 20_000


@dataclass(frozen=True)
class RoundingCost:
    """The mean share of the top k over the shards' own vectors that is in the table's exact top k,
    for ``queries`` queries of one kind."""

    modality: Modality
    query: Modality
    k: int
    recall: float
    queries: int


def measure_rounding(
    connection: Connection,
    table: str,
    facts: TableFacts,
    sources: Sequence[Source],
    modality: Modality,
    k: int,
    queries: int,
) -> tuple[RoundingCost, ...]:
    """Compare exact searches of the table's rows of these shards with brute force over the files.

    Queries are rows of the table, with their vectors as the shards have them. The files are read
    once for each kind of query, a block at a time.

    Raises ShardError where none of the sampled rows is in the shards, or they are CSV files.
    """
    readers = {source.number: _reader(source) for source in sources}
    request = Request(k=k + 1, modality=modality, filter=Filter(shards=tuple(readers)))
    searcher = Searcher(connection, table, facts)
    condition = condition_of(request, facts)
    costs = []
    for kind in facts.info.modalities:
        sampled = sample_rows(connection, table, kind, queries)
        ids = [s.id for s in sampled if s.id >> ID_BITS in readers]
        if not ids:
            raise ShardError(
                f"table {table} has no rows of these shards; give those it was made of"
            )
        vectors = np.concatenate([_row(_column(readers[i >> ID_BITS], kind), i) for i in ids])
        truth = _brute_force(readers.values(), modality, vectors, k + 1)
        shares = []
        for row_id, vector, nearest in zip(ids, vectors, truth, strict=True):
            plan = Plan("exact", None, 1.0, "")
            found = searcher.run(QueryVector(vector, kind), request, plan, condition)
            mine = [hit.id for hit in found.hits if hit.id != row_id][:k]
            wanted = [i for i in nearest.tolist() if i != row_id][:k]
            shares.append(len(set(mine) & set(wanted)) / max(len(wanted), 1))
        costs.append(RoundingCost(modality, kind, k, float(np.mean(shares)), len(ids)))
    return tuple(costs)


def _brute_force(
    readers: Iterable[ShardReader], modality: Modality, queries: NDArray[np.float32], k: int
) -> NDArray[np.int64]:
    """The ids of the ``k`` rows of highest cosine similarity for each query, best first: int64 of
    shape (queries, k)."""
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    unit = _unit(queries)
    for reader in readers:
        for start in range(0, reader.rows, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, reader.rows)
            scores = unit @ _unit(_column(reader, modality).read(start, stop)).T
            block = np.broadcast_to(reader.first_id + np.arange(start, stop), scores.shape)
            all_scores = np.concatenate((best, scores), axis=1)
            all_ids = np.concatenate((ids, block), axis=1)
            order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(all_scores, order, axis=1)
            ids = np.take_along_axis(all_ids, order, axis=1)
    return ids


def _row(column: NpyFile, row_id: int) -> NDArray[np.float32]:
    row = row_id & (2**ID_BITS - 1)
    return column.read(row, row + 1).astype(np.float32)


def _column(reader: ShardReader, modality: Modality) -> NpyFile:
    column = reader.image if modality == "image" else reader.text
    assert column is not None  # the table has this modality, and its shards too
    return column


def _reader(source: Source) -> ShardReader:
    if source.reader is None:
        raise ShardError(f"shard {source.number}: rounding is measured against .npy files")
    return source.reader


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    rows = rows.astype(np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
