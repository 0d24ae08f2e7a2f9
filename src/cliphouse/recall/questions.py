"""The queries that recall is measured with: rows of the table itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cliphouse.engine.arrays import vectors_of
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.search.condition import Condition
from cliphouse.vocabulary import Modality

_APART = 1e-6  # two rows that differ by less count as one


@dataclass(frozen=True)
class Sample:
    """A row of the table used as a query, shape (dim,), and the row's id."""

    id: int
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class Question:
    """A query, shape (dim,), and the id of its row, which is left out of all answers; None if it
    is not a row."""

    vector: NDArray[np.float32]
    own: int | None

    def cut(self, ids: Sequence[int], k: int) -> list[int]:
        """The first ``k`` of ``ids`` that are not the query's own row."""
        return [row_id for row_id in ids if row_id != self.own][:k]


def sample_rows(
    table: TableHandle,
    kind: Modality,
    count: int,
    condition: Condition | None = None,
) -> list[Sample]:
    """Choose rows of the table as queries: of those that meet ``condition``, the ones whose ids
    have the smallest hashes. If several rows have the same id, one of them is chosen."""
    where = f"WHERE {condition.sql} " if condition else ""
    chosen = table.connection.query(
        f"SELECT DISTINCT id FROM {table.sql} {where}ORDER BY sipHash64(id) LIMIT {{count:UInt32}}",
        {"count": count, **(condition.parameters if condition else {})},
    )
    found = table.connection.query(
        f"SELECT id, CAST({embedding_column(kind)}, 'Array(Float32)') AS vector "
        f"FROM {table.sql} WHERE id IN {{ids:Array(Int64)}} "
        "ORDER BY sipHash64(id) LIMIT 1 BY id",
        {"ids": chosen.column("id").to_pylist()},
    )
    vectors = vectors_of(found.column("vector"), table.info.dim)
    return [Sample(*row) for row in zip(found.column("id").to_pylist(), vectors, strict=True)]


def turned_aside(rows: NDArray[np.float32], similarity: float) -> NDArray[np.float32]:
    """Turn each row, float32 of shape (n, dim), towards the row before it, until its cosine
    similarity to itself before is ``similarity``. Its length stays.

    The neighbours of a row that is a node of the graph are found more easily than those of a
    picture that is not in the graph: at 100,000 rows ef 128 found 0.996 of the neighbours of
    rows and 0.975 of those of new pictures (docs/benchmarks/search.md).
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / lengths
    others = np.roll(unit, 1, axis=0)
    aside = others - np.sum(others * unit, axis=1, keepdims=True) * unit
    apart = np.linalg.norm(aside, axis=1, keepdims=True)
    aside = np.divide(aside, apart, out=np.zeros_like(aside), where=apart > _APART)
    near = np.where(apart > _APART, np.clip(similarity, -1, 1), 1)
    turned: NDArray[np.float32] = (lengths * (near * unit + np.sqrt(1 - near**2) * aside)).astype(
        np.float32
    )
    return turned
