"""Types and constants that every room uses: modalities, metrics, precisions, measured recall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, ...] = ("image", "text")
Metric = Literal["cosine", "l2"]
METRICS: tuple[Metric, ...] = ("cosine", "l2")
Precision = Literal["float32", "bfloat16"]
Codes = Literal["none", "rabitq", "turboquant"]
Quantization = Literal["bf16", "f32", "f16", "i8", "b1"]

DEFAULT_TABLE = "laion"
DEFAULT_DB = "laion.chdb"
AUTO_KS = (10, 100)  # k that recall is measured for when an index is built, for mode auto
MAX_BATCH = 32  # searches in one call of a service


class Progress(Protocol):
    """A callback that is called as work advances: ``done`` of ``total`` rows, files or steps."""

    def __call__(self, done: int, total: int, /) -> None: ...


class BuildProgress(Protocol):
    """A callback that is called while an index is built, with each node's finished share, 0 to 1,
    by the node's name ("" on a single server)."""

    def __call__(self, shares: Mapping[str, float], /) -> None: ...


@dataclass(frozen=True)
class Measured:
    """Recall@k of one search method at one width, measured on this table.

    ``width`` is the method's own: the ef of hnsw, the oversampling of codes, 0 for exact.
    ``recall`` is the mean share of the exact top k that ``queries`` queries found, and
    ``standard_error`` the standard error of that mean. ``milliseconds`` and ``p95`` are the median
    and the 95th percentile of a search's time. The figures hold only for the measured ``index``
    (its type, or the name of the codes). ``target`` is the recall that mode auto must reach.
    """

    modality: Modality
    query: Modality
    mode: str
    width: int
    k: int
    recall: float
    milliseconds: float
    queries: int
    rows: int
    index: str = ""
    metric: str = "cosine"
    standard_error: float = 0.0
    p95: float = 0.0
    target: float = 0.95
