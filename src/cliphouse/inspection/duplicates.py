"""Groups of rows that are the same picture, or nearly: by the bytes of their files, and by their
vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cliphouse.errors import QueryError, TableError
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.search.condition import explained, typed_condition
from cliphouse.shards.roots import local_urls
from cliphouse.vocabulary import Progress

DEFAULT_THRESHOLD = 0.97
MOST_ROWS = 200_000  # whose vectors are held in memory and compared pair by pair
_BLOCK = 1024
_HASH = "file_hash"


@dataclass(frozen=True)
class DuplicateRow:
    """A row of a group. ``score`` is the cosine similarity to the first row of the group."""

    id: int
    url: str
    caption: str
    score: float


@dataclass(frozen=True)
class DuplicateGroup:
    """Two rows or more, in the order of their ids: of the same ``file``, byte by byte, or with
    similar ``picture`` vectors."""

    kind: Literal["file", "picture"]
    rows: tuple[DuplicateRow, ...]


def find_duplicates(
    table: TableHandle,
    threshold: float = DEFAULT_THRESHOLD,
    where: str | None = None,
    progress: Progress | None = None,
) -> list[DuplicateGroup]:
    """The groups of rows whose image vectors have a cosine similarity of ``threshold`` or more to
    another row of the group, the largest groups first; ``where`` chooses the rows.

    A group all of whose files have the same bytes is of the kind "file"; that is known of tables
    that `sync` or `embed` filled.

    Raises TableError if there are more than 200,000 rows or they have no image vectors, QueryError
    if the threshold is not between 0 and 1, ConditionError if the engine does not take ``where``.
    """
    if not 0 < threshold <= 1:
        raise QueryError(f"threshold {threshold}: give one above 0 and up to 1")
    rows = _read(table, where)
    groups = _connected(rows.vectors, threshold, progress)
    found = [_group(rows, places) for places in groups]
    return sorted(found, key=lambda group: (-len(group.rows), group.rows[0].id))


@dataclass(frozen=True)
class _Rows:
    """Rows in the order of their ids; ``vectors`` are of length 1, float32 of shape (rows, dim)."""

    ids: list[int]
    urls: list[str]
    captions: list[str]
    hashes: list[str]
    vectors: NDArray[np.float32]


def _read(table: TableHandle, where: str | None) -> _Rows:
    column = embedding_column("image")
    if column not in table.columns:
        raise TableError(f"table {table.name} has no {column} to compare")
    condition = typed_condition(where, list(table.columns))
    clause = f"WHERE {condition.sql}" if condition else ""
    names = [name if name in table.columns else f"'' AS {name}" for name in ("url", "caption")]
    digest = f"ifNull({_HASH}, '')" if _HASH in table.columns else "''"
    sql = (
        f"SELECT id, {', '.join(names)}, {digest} AS digest, "
        f"CAST({column}, 'Array(Float32)') AS vector FROM {table.sql} {clause} "
        f"ORDER BY id LIMIT {MOST_ROWS + 1}"
    )
    parameters = condition.parameters if condition else {}
    if condition:
        with explained(condition, sql):
            found = table.connection.query(sql, parameters)
    else:
        found = table.connection.query(sql, parameters)
    if found.num_rows > MOST_ROWS:
        raise TableError(
            f"table {table.name}: more than {MOST_ROWS:,} rows to compare with one another; choose "
            "some of them with --where"
        )
    lists = found.column("vector").combine_chunks()
    vectors = np.asarray(lists.flatten().to_numpy(), np.float32).reshape(len(lists), -1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    ids, urls, captions, hashes = (
        found.column(name).to_pylist() for name in ("id", "url", "caption", "digest")
    )
    return _Rows(ids, list(map(local_urls(table.info.roots), urls)), captions, hashes, unit)


def _connected(
    vectors: NDArray[np.float32], threshold: float, progress: Progress | None
) -> list[list[int]]:
    """The places of rows that are connected by pairs of this similarity, two or more each."""
    parent = list(range(len(vectors)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for one, other in _pairs(vectors, threshold, progress):
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    groups: dict[int, list[int]] = {}
    for place in range(len(vectors)):
        groups.setdefault(root(place), []).append(place)
    return [places for places in groups.values() if len(places) > 1]


def _pairs(
    vectors: NDArray[np.float32], threshold: float, progress: Progress | None
) -> Iterator[tuple[int, int]]:
    """The pairs of rows with at least this cosine similarity."""
    total = len(vectors)
    least = threshold - 1e-6  # a product of two equal vectors of length 1 may be a little less
    for start in range(0, total, _BLOCK):
        block = vectors[start : start + _BLOCK]
        for other in range(start, total, _BLOCK):
            alike = block @ vectors[other : other + _BLOCK].T >= least
            for row, column in zip(*(each.tolist() for each in np.nonzero(alike)), strict=True):
                if start + row < other + column:
                    yield start + row, other + column
        if progress:
            progress(min(start + _BLOCK, total), total)


def _group(rows: _Rows, places: Sequence[int]) -> DuplicateGroup:
    first = places[0]
    scores = (rows.vectors[list(places)] @ rows.vectors[first]).tolist()
    hashes = {rows.hashes[place] for place in places}
    is_file = len(hashes) == 1 and hashes != {""}
    found = tuple(
        DuplicateRow(rows.ids[place], rows.urls[place], rows.captions[place], score)
        for place, score in zip(places, scores, strict=True)
    )
    return DuplicateGroup("file" if is_file else "picture", found)
