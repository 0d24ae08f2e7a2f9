"""Reading operands into one vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cliphouse.errors import QueryError
from cliphouse.models import Encoder
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.search.query.content import read_image, read_vector
from cliphouse.search.query.operand import Operand, require_positive
from cliphouse.search.query.vector import QueryVector, check_vector, weighted_sum
from cliphouse.vocabulary import Modality

Encoders = Callable[[], Encoder]


class QueryReader:
    """Turns operands into vectors for one table. All words of one call are encoded together."""

    def __init__(self, table: TableHandle, encoder: Encoders) -> None:
        """``encoder`` is called only if one is needed."""
        self._table = table
        self._encoder = encoder

    def read(self, queries: Sequence[Sequence[Operand]], modality: Modality) -> list[QueryVector]:
        """A vector for each query, which is the sum of its operands; a row stands for its own
        embedding in ``modality`` (see weighted_sum).

        Raises QueryError or PictureError if a query cannot be read.
        """
        for operands in queries:
            require_positive(operands)
        flat = [operand for operands in queries for operand in operands]
        vectors = iter(self._read_all(flat, modality))
        return [weighted_sum([next(vectors) for _ in q], [o.weight for o in q]) for q in queries]

    def _read_all(self, operands: Sequence[Operand], modality: Modality) -> list[QueryVector]:
        others = {
            place: self._read_one(operand, modality)
            for place, operand in enumerate(operands)
            if operand.words is None
        }
        words = [operand.words for operand in operands if operand.words is not None]
        encoded = iter(self._encoder().encode_text(words) if words else ())
        return [
            others[place] if place in others else QueryVector(next(encoded), "text")
            for place in range(len(operands))
        ]

    def _read_one(self, operand: Operand, modality: Modality) -> QueryVector:
        if operand.id is not None:
            return QueryVector(self._check(self._row(operand, modality), operand), modality)
        if operand.vector is not None:
            return QueryVector(self._check(read_vector(operand), operand), operand.made_of)
        return QueryVector(self._encoder().encode_image([read_image(operand)])[0], "image")

    def _row(self, operand: Operand, modality: Modality) -> NDArray[np.float32]:
        column = embedding_column(modality)
        found = self._table.connection.query(
            f"SELECT CAST({column}, 'Array(Float32)') AS vector "
            f"FROM {self._table.sql} WHERE id = {{id:Int64}} LIMIT 1",
            {"id": operand.id},
        )
        if found.num_rows == 0:
            raise QueryError(f"{operand.name}: table {self._table.name} has no such row")
        return np.array(found.column("vector")[0].as_py(), dtype=np.float32)

    def _check(self, vector: NDArray[Any], operand: Operand) -> NDArray[np.float32]:
        return check_vector(vector, operand.name, self._table.info.dim, self._table.name)
