"""The parts of one search: encoding its words, and what is Python and what is the engine."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq

import cliphouse
from cliphouse.engine.connection import Connection
from cliphouse.models.encoder import load_encoder
from search.contender import Case, K
from search.data import queries
from search.house import SHOWN, database
from search.place import Place

# No network is needed for it; what the real model takes is in docs/benchmarks/encode.md.
MODEL = "tiny"
_CASES = (
    Case("hnsw ef 64", 64, "hnsw"),
    Case("hnsw ef 512", 512, "hnsw"),
    Case("exact", None, "exact"),
)


@dataclass(frozen=True)
class Parts:
    """Medians over text queries, in milliseconds. ``encode`` is a caption through the tiny model,
    apart from the rest; ``whole`` is Table.search of a vector, of which ``engine`` is the call of
    the connection that runs the statement and reads its answer, ``before`` and ``after`` what comes
    before and after that. ``nothing`` is that call with SELECT 1."""

    rows: int
    round: int
    case: str
    encode: float
    before: float
    engine: float
    after: float
    whole: float
    nothing: float


class _Stopwatch:
    """Stands in for a method that asks the engine: when it is first called and last returns, and
    the seconds spent in it."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.first = self.last = self.seconds = 0.0

    def __call__(self, *given: Any, **named: Any) -> Any:
        started = time.perf_counter()
        self.first = self.first or started
        found = self._method(*given, **named)
        self.last = time.perf_counter()
        self.seconds += self.last - started
        return found


def run_parts(place: Place, number: int) -> None:
    """Measure here, and print a line of JSON for each way of searching."""
    encode = _encoding(place)
    with cliphouse.open(database(place, "float32")) as table:
        nothing = _median(lambda: table.connection.columns("SELECT 1"), 100)
        for case in _CASES:
            parts = _search(place, table, case)
            print(json.dumps(asdict(Parts(place.rows, number, case.name, encode, *parts, nothing))))


def _encoding(place: Place) -> float:
    captions = pq.ParquetFile(place.shard.metadata).read_row_group(0, columns=["caption"])
    words = iter(captions.column(0).to_pylist())
    encoder = load_encoder(MODEL)
    return _median(lambda: encoder.encode_text([next(words)]), 100)


def _search(place: Place, table: cliphouse.Table, case: Case) -> tuple[float, float, float, float]:
    """Before the engine, in it, after it, and the whole: medians in milliseconds."""
    asked = queries(place, "text")
    options: dict[str, Any] = {"k": K, "mode": case.mode, "fields": SHOWN}
    options |= {} if case.width is None else {"ef": case.width}
    for vector in asked.warm_up:
        table.search(vector, **options)
    times = []
    for vector in asked.timed:
        watch = _Stopwatch(table.connection.columns)
        with patch.object(Connection, "columns", watch):
            started = time.perf_counter()
            table.search(vector, **options)
            ended = time.perf_counter()
        times.append((watch.first - started, watch.seconds, ended - watch.last, ended - started))
    before, engine, after, whole = (
        statistics.median(each) * 1000 for each in zip(*times, strict=True)
    )
    return before, engine, after, whole


def _median(action: Callable[[], Any], count: int) -> float:
    """Milliseconds of one action of many, after some to warm up."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        action()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)
