"""Near-duplicates among hits: found by their stored vectors, folded into the nearest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cliphouse.table.connection import Connection, identifier
from cliphouse.table.schema import Modality, embedding_column
from cliphouse.table.search.results import Hit

_BLOCK = 256  # rows that one product of matrices compares with all kept so far


def fold_duplicates(
    hits: Sequence[Hit], vectors: NDArray[np.float32], threshold: float
) -> list[Hit]:
    """The hits, nearest first, without those whose cosine similarity to a nearer kept one is
    ``threshold`` or more; each kept hit counts what was folded into it.

    ``vectors`` has the hits' embeddings, float32 of shape (len(hits), dim). One of only zeros is
    like nothing.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    kept: list[int] = []
    folded: dict[int, int] = {}
    for start in range(0, len(hits), _BLOCK):
        block = unit[start : start + _BLOCK]
        before = len(kept)
        candidates = [*kept, *range(start, start + len(block))]
        is_kept = np.arange(len(candidates)) < before
        alike = block @ unit[candidates].T >= threshold
        for place in range(before, len(candidates)):
            nearer = alike[place - before] & is_kept
            if nearer.any():
                first = candidates[int(np.argmax(nearer))]
                folded[first] = folded.get(first, 0) + 1
            else:
                is_kept[place] = True
                kept.append(candidates[place])
    return [replace(hits[position], folded=folded.get(position, 0)) for position in kept]


def stored_vectors(
    connection: Connection, table: str, modality: Modality, ids: Sequence[int]
) -> NDArray[np.float32]:
    """The embeddings of rows, float32 of shape (len(ids), dim), in the order of ``ids``."""
    found = connection.query(
        f"SELECT id, CAST({embedding_column(modality)}, 'Array(Float32)') AS vector "
        f"FROM {identifier(table)} WHERE id IN {{ids:Array(Int64)}}",
        {"ids": list(ids)},
    )
    column = found.column("vector").combine_chunks()
    flat = np.asarray(column.flatten(), dtype=np.float32).reshape(len(column), -1)
    place = {row_id: i for i, row_id in enumerate(found.column("id").to_pylist())}
    return flat[[place[row_id] for row_id in ids]]
