"""The parameters of an HNSW index, and the memory that its graph takes."""

from __future__ import annotations

from dataclasses import dataclass

from cliphouse.errors import QueryError
from cliphouse.schema.facts import DISTANCE, index_name
from cliphouse.vocabulary import Metric, Modality, Quantization

ELEMENT_BYTES: dict[Quantization, float] = {"bf16": 2, "f32": 4, "f16": 2, "i8": 1, "b1": 1 / 8}
DEFAULT_M = 32
DEFAULT_EF_CONSTRUCTION = 128


@dataclass(frozen=True)
class IndexSpec:
    """Parameters of an HNSW index (Malkov and Yashunin 2016) under ClickHouse's names for them.

    Raises QueryError if one is out of range.
    """

    modality: Modality = "image"
    metric: Metric = "cosine"
    quantization: Quantization = "bf16"
    m: int = DEFAULT_M
    ef_construction: int = DEFAULT_EF_CONSTRUCTION

    def __post_init__(self) -> None:
        if not 2 <= self.m <= 1024 or not 2 <= self.ef_construction <= 10_000:
            raise QueryError("M must be 2 to 1024 and ef_construction 2 to 10000")

    @property
    def name(self) -> str:
        return index_name(self.modality, self.metric)

    def type_sql(self, dim: int) -> str:
        """The index type as SQL, spelled as the engine shows it."""
        return (
            f"vector_similarity('hnsw', '{DISTANCE[self.metric]}', {dim}, "
            f"'{self.quantization}', {self.m}, {self.ef_construction})"
        )

    def memory_bytes(self, rows: int, dim: int) -> int:
        """Bytes of memory that the graph takes while it is built and while it is searched.

        rows x (dim x bytes an element + 8 M): the vectors, and 2 M links of 4 bytes each on the
        lowest layer, where nearly all links are.
        """
        return int(rows * (dim * ELEMENT_BYTES[self.quantization] + self.m * 8))


@dataclass(frozen=True)
class Extension:
    """What became of the indexes ``names`` when rows were loaded after they were built: graphs of
    ``rows`` rows were built, or are left to the user, since that takes long."""

    names: tuple[str, ...]
    rows: int
    is_built: bool
