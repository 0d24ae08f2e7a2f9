"""What is searched for: words, pictures, .npy files and rows of the table, as one vector."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from cliphouse.errors import QueryError
from cliphouse.loading.bfloat16 import bfloat16_bits
from cliphouse.models import Encoder
from cliphouse.pictures import open_picture
from cliphouse.pictures.fetch import fetch_picture
from cliphouse.pictures.files import SUFFIXES
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.vocabulary import MODALITIES, Modality, Precision

Query: TypeAlias = "str | Path | Image.Image | ArrayLike | QueryVector | Operand"
Kind = Literal["text", "image", "vector", "mixed"]
Encoders = Callable[[], Encoder]

_WEIGHT = re.compile(r"(\d+(?:\.\d+)?):(?=\S)(.*)", re.DOTALL)
_MEAN_ROWS = 512
_HEAVIEST = 1000
# Beyond these the squares of the numbers leave the range of float32, in which the engine computes.
_SHORTEST, _LONGEST = 1e-12, 1e12


@dataclass(frozen=True)
class QueryVector:
    """A query's vector, float32 of shape (dim,), and what it came from: words, pictures (or rows'
    own embeddings of either kind), a bare vector, or a mixture of these."""

    values: NDArray[np.float32]
    kind: Kind


@dataclass(frozen=True)
class Combination:
    """A query with other queries added to it and subtracted from it. Text may begin with a weight
    as in ``2:cat``; ``1:2:30 to Paris`` are the words "2:30 to Paris". An Operand has its own."""

    query: Query
    add: tuple[Query, ...] = ()
    subtract: tuple[Query, ...] = ()

    def operands(self) -> list[Operand]:
        """Every query with its weight, negative where it is subtracted."""
        signs = [(self.query, 1), *((q, 1) for q in self.add), *((q, -1) for q in self.subtract)]
        return [_weighted(query, sign) for query, sign in signs]


@dataclass(frozen=True)
class Operand:
    """One query of a combination and its weight; programs give weights so, where text would."""

    query: Query
    weight: float


class QueryReader:
    """Turns queries into vectors for one table. All words of one call are encoded together."""

    def __init__(self, table: TableHandle, encoder: Encoders) -> None:
        """``encoder`` is called only where one is needed."""
        self._table = table
        self._encoder = encoder

    def read(self, combinations: Sequence[Combination], modality: Modality) -> list[QueryVector]:
        """A vector for each combination.

        Text is words, unless it is ``id:N`` (a row's own embedding in ``modality``), names a
        ``.npy`` file with one vector, a picture, or a picture's URL. Pictures may be given as PIL
        images, vectors as arrays, and what is encoded already as QueryVector. Of several operands
        each is scaled to length 1, then weighted and summed, and the sum is scaled to length 1.

        Raises QueryError or PictureError where a query cannot be understood.
        """
        listed = [combination.operands() for combination in combinations]
        flat = [operand.query for operands in listed for operand in operands]
        vectors = iter(self._read_all(flat, modality))
        return [_combine([(o, next(vectors)) for o in operands]) for operands in listed]

    def _read_all(self, queries: Sequence[Query], modality: Modality) -> list[QueryVector]:
        found: list[QueryVector | str] = [self._read_one(query, modality) for query in queries]
        words = [entry for entry in found if isinstance(entry, str)]
        encoded = iter(self._encoder().encode_text(words) if words else ())
        return [QueryVector(next(encoded), "text") if isinstance(e, str) else e for e in found]

    def _read_one(self, query: Query, modality: Modality) -> QueryVector | str:
        """The query's vector, or its words, which are encoded later."""
        if isinstance(query, QueryVector):
            return QueryVector(self._check(query.values, "the query"), query.kind)
        if isinstance(query, str) and (row_id := as_row_id(query)) is not None:
            row = self._row(row_id, modality)
            return QueryVector(self._check(row, query.strip()), modality)
        if isinstance(query, str) and is_url(query):
            query = fetch_picture(query)
        if isinstance(query, Path) or (isinstance(query, str) and names_a_file(query)):
            path = Path(query).expanduser()
            if path.suffix.lower() == ".npy":
                return QueryVector(self._check(load_npy(path), str(path)), "vector")
            query = open_picture(path)
        if isinstance(query, Image.Image):
            image = query.convert("RGB")
            return QueryVector(self._encoder().encode_image([image])[0], "image")
        if isinstance(query, str):
            if not query.strip():
                raise QueryError("the query is empty; give words, a picture, a .npy file or id:N")
            return query
        try:
            vector = np.asarray(query)
        except ValueError:
            raise QueryError(
                "the query: its rows differ in length; a query is one vector"
            ) from None
        return QueryVector(self._check(vector, "the query"), "vector")

    def _row(self, row_id: int, modality: Modality) -> NDArray[np.float32]:
        column = embedding_column(modality)
        found = self._table.connection.query(
            f"SELECT CAST({column}, 'Array(Float32)') AS vector "
            f"FROM {self._table.sql} WHERE id = {{id:Int64}} LIMIT 1",
            {"id": row_id},
        )
        if found.num_rows == 0:
            raise QueryError(f"id:{row_id}: table {self._table.name} has no such row")
        return np.array(found.column("vector")[0].as_py(), dtype=np.float32)

    def _check(self, vector: NDArray[np.generic], name: str) -> NDArray[np.float32]:
        if vector.ndim == 2 and len(vector) == 1:
            vector = vector[0]
        is_real = np.issubdtype(vector.dtype, np.floating) or np.issubdtype(
            vector.dtype, np.integer
        )
        if vector.ndim != 1 or not is_real:
            raise QueryError(f"{name}: shape {vector.shape}, but a query is one vector of numbers")
        if len(vector) != self._table.info.dim:
            raise QueryError(
                f"{name}: dimension {len(vector)}, but table {self._table.name} has "
                f"{self._table.info.dim}"
            )
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not _SHORTEST <= length <= _LONGEST:
            raise QueryError(
                f"{name}: NaN, infinity, only zeros or of length {length:g}; such a vector finds "
                "nothing"
            )
        return np.ascontiguousarray(vector, dtype=np.float32)


def mean_vectors(table: TableHandle) -> dict[Modality, NDArray[np.float32]]:
    """The mean of some of the table's image embeddings and of its text embeddings, each float32 of
    shape (dim,)."""
    means = ", ".join(
        f"avgForEach(CAST({embedding_column(m)}, 'Array(Float32)')) AS {m}" for m in MODALITIES
    )
    found = table.connection.query(
        f"SELECT {means} FROM (SELECT * FROM {table.sql} LIMIT {_MEAN_ROWS})"
    ).to_pylist()[0]
    return {m: np.array(found[m], dtype=np.float32) for m in MODALITIES}


def recognise(vector: QueryVector, means: dict[Modality, NDArray[np.float32]]) -> QueryVector:
    """A bare vector, known as text or image by which mean it is nearer to. CLIP's two kinds of
    vectors lie so far apart that this tells them surely."""
    image, text = (_cosine(vector.values, means[m]) for m in ("image", "text"))
    return QueryVector(vector.values, "image" if image > text else "text")


def _weighted(query: Query, sign: int) -> Operand:
    if isinstance(query, Operand):
        return Operand(query.query, sign * query.weight)
    if isinstance(query, str) and (match := _WEIGHT.fullmatch(query.strip())):
        weight = float(match[1])
        if not 0 < weight <= _HEAVIEST:
            raise QueryError(f"{query[:40]}: a weight is more than 0 and up to {_HEAVIEST:,}")
        return Operand(match[2], sign * weight)
    return Operand(query, float(sign))


def _combine(operands: Sequence[tuple[Operand, QueryVector]]) -> QueryVector:
    kinds = {vector.kind for _, vector in operands}
    if len(operands) == 1:
        return operands[0][1]
    parts = [o.weight * v.values / np.linalg.norm(v.values) for o, v in operands]
    total: NDArray[np.float64] = np.sum(np.array(parts, dtype=np.float64), axis=0)
    length = float(np.linalg.norm(total))
    if length < 1e-4 * sum(abs(operand.weight) for operand, _ in operands):
        raise QueryError("what is added and what is subtracted cancel out; nothing is left to find")
    # A difference lies outside the cloud that its operands lie in.
    is_plain = len(kinds) == 1 and all(operand.weight > 0 for operand, _ in operands)
    unit: NDArray[np.float32] = (total / length).astype(np.float32)
    return QueryVector(unit, kinds.pop() if is_plain else "mixed")


def _cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def encode_parameter(values: NDArray[np.float32], precision: Precision) -> str:
    """A vector as text for a query parameter: its bytes in base64, 4 or 2 bytes a number."""
    if precision == "bfloat16":
        data = (bfloat16_bits(values) >> 16).astype("<u2").tobytes()
    else:
        data = values.astype("<f4").tobytes()
    return base64.b64encode(data).decode()


def decode_expression(parameter: str, precision: Precision) -> str:
    """The SQL that makes a vector of such a parameter, folded to a constant before the search.

    It parses 3.6 times faster than an array literal of 512 numbers."""
    element = "BFloat16" if precision == "bfloat16" else "Float32"
    return f"reinterpret(base64Decode({{{parameter}:String}}), 'Array({element})')"


def as_row_id(query: str) -> int | None:
    """The row that ``id:N`` names; None for other text."""
    match = re.fullmatch(r"id:(-?\d{1,19})", query.strip())
    return int(match[1]) if match else None


def is_url(query: str) -> bool:
    """Whether text is the address of a picture on the web."""
    return re.match(r"https?://\S+$", query) is not None


def names_a_file(query: str) -> bool:
    """Whether text names a picture or vector file rather than saying something in words."""
    suffix = Path(query).suffix.lower()
    return (suffix in SUFFIXES or suffix == ".npy") or (
        len(query) < 1024
        and "\0" not in query
        and "/" in query
        and Path(query).expanduser().is_file()
    )


def load_npy(path: Path) -> NDArray[np.generic]:
    """The array of a .npy file. Raises QueryError where it is none."""
    try:
        loaded: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise QueryError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise QueryError(f"{path}: not a readable .npy file: {error}") from error
    return loaded
