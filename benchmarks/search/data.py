"""The rows searched, the queries, and the exact answers, by NumPy over the vectors as given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clip_like import ClipLike, Floats, write_shard
from search.contender import Condition, K, Step
from search.place import Place

Kind = Literal["text", "image"]
KINDS: tuple[Kind, ...] = ("text", "image")
QUERIES = 100
WARM_UP = 5
_CHUNK = 50_000  # rows turned to float32 at once

# Filters that have nothing to do with what is searched, and filters that have: a query's nearest
# rows are mostly about one thing, and these ask for another.
CONDITIONS = (
    Condition("hash 50%", "sipHash64(id) % 10000 < 5000", 0.5),
    Condition("hash 5%", "sipHash64(id) % 10000 < 500", 0.05),
    Condition("hash 0.5%", "sipHash64(id) % 10000 < 50", 0.005),
    Condition("hash 0.01%", "sipHash64(id) % 10000 < 1", 0.0001),
    Condition("meaning 50%", "similarity > 0.317", 0.5),
    Condition("meaning 5%", "caption ILIKE '%wall clock%'", 0.05),
    Condition("meaning 0.5%", "url LIKE '%/wall-clock-%' AND width < 560", 0.005),
    Condition("meaning 0.01%", "url LIKE '%/wall-clock-%' AND width < 128", 0.0001),
)


@dataclass(frozen=True)
class Queries:
    """Unit vectors of one kind, (n, 512) float32: those that are timed, and those before them."""

    timed: Floats
    warm_up: Floats


@dataclass(frozen=True)
class Rows:
    """Rows as a database is given them. ``vectors`` are the image embeddings, (n, 512) float32,
    normalised."""

    ids: list[int]
    urls: list[str]
    captions: list[str]
    vectors: Floats

    def each(self) -> Iterator[tuple[int, str, str, NDArray[np.float32]]]:
        """Id, url, caption and vector of one row after another."""
        return zip(self.ids, self.urls, self.captions, self.vectors, strict=True)


def rows_in_batches(place: Place, size: int) -> Iterator[Rows]:
    """The table's rows in their order, ``size`` at a time."""
    start = 0
    parts = pq.ParquetFile(place.shard.metadata).iter_batches(size, columns=["url", "caption"])
    for part in parts:
        stop = start + part.num_rows
        urls, captions = (column.to_pylist() for column in part.columns)
        yield Rows(list(range(start, stop)), urls, captions, unit_rows(place, start, stop))
        start = stop


def queries(place: Place, kind: Kind) -> Queries:
    """The rows of the generator that follow the table's last one, so none is in the table."""
    vectors = ClipLike().vectors(place.rows, place.rows + QUERIES + WARM_UP)
    chosen = vectors.text if kind == "text" else vectors.image
    return Queries(chosen[:QUERIES], chosen[QUERIES:])


def unit_rows(place: Place, start: int = 0, stop: int | None = None) -> Floats:
    """The image embeddings of rows [start, stop) as (n, 512) float32, normalised."""
    stored = np.load(place.shard.image, mmap_mode="r")[start:stop]
    rows = np.empty(stored.shape, np.float32)
    for first in range(0, len(stored), _CHUNK):
        part = rows[first : first + _CHUNK]
        part[:] = stored[first : first + _CHUNK]
        part /= np.sqrt(np.einsum("ij,ij->i", part, part))[:, None]
    return rows


def unit_batches(place: Place) -> list[tuple[int, int]]:
    """Ranges of rows to build an index from without holding all of them twice."""
    return [(start, min(start + _CHUNK, place.rows)) for start in range(0, place.rows, _CHUNK)]


def make_shard(place: Place) -> None:
    place.fresh("shard")
    write_shard(place.shard.folder, 0, place.rows)


def make_truth(place: Place) -> None:
    """The exact answers to all queries over all rows: (100, K) ids, nearest first."""
    folder = place.fresh("truth")
    rows = unit_rows(place)
    answers: dict[str, Any] = {kind: nearest(rows, queries(place, kind).timed) for kind in KINDS}
    np.savez(folder / "all.npz", **answers)


def keep_selected(place: Place, selected: dict[str, NDArray[np.int64]]) -> None:
    """Exact answers within the rows each condition selects, given as ids by its name."""
    folder = place.folder("truth")
    rows = unit_rows(place)
    asked = {kind: queries(place, kind).timed for kind in KINDS}
    answers: dict[str, Any] = {}
    for name, ids in selected.items():
        chosen = rows[ids]
        for kind in KINDS:
            answers[_key(name, kind)] = ids[nearest(chosen, asked[kind])]
    np.savez(folder / "selected.npz", **answers)
    counts = {name: len(ids) for name, ids in selected.items()}
    (folder / "selected.json").write_text(json.dumps(counts, indent=1) + "\n")


def truth(place: Place, kind: Kind, condition: Condition | None = None) -> NDArray[np.int64]:
    """The exact answers, (100, K) ids; fewer columns where fewer rows meet the condition."""
    folder = place.folder("truth")
    if condition is None:
        answers: NDArray[np.int64] = np.load(folder / "all.npz")[kind]
    else:
        answers = np.load(folder / "selected.npz")[_key(condition.name, kind)]
    return answers


def selected_rows(place: Place, condition: Condition) -> int:
    """How many rows meet the condition."""
    counts = json.loads((place.folder("truth") / "selected.json").read_text())
    return int(counts[condition.name])


def nearest(rows: Floats, asked: Floats) -> NDArray[np.int64]:
    """The positions of the K rows of the highest product with each query, (n, K), best first."""
    count = min(K, len(rows))
    found = np.empty((len(asked), count), np.int64)
    for number, query in enumerate(asked):
        products = rows @ query
        top = np.argpartition(products, -count)[-count:] if count else np.empty(0, np.int64)
        found[number] = top[np.argsort(-products[top], kind="stable")]
    return found


def _key(condition: str, kind: Kind) -> str:
    return f"{condition}, {kind}"


COMMON = (Step("shard", make_shard), Step("truth", make_truth))  # what all contenders need
