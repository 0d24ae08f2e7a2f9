"""Groups of rows that are the same picture, or nearly: by the bytes of their files, and by their
vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cliphouse.engine.arrays import vectors_of
from cliphouse.errors import QueryError, TableError
from cliphouse.inspection.alike import connected
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.handle import TableHandle
from cliphouse.search.condition import Condition, every, explained, typed_condition
from cliphouse.search.filter import Filter
from cliphouse.shards.roots import local_urls
from cliphouse.vocabulary import Progress

DEFAULT_THRESHOLD = 0.97
MOST_ROWS = 200_000  # whose vectors are held in memory and compared pair by pair
_HASH = "file_hash"
_TIME = "frame_time"  # all frames of a video have its hash


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

    Raises QueryError if the threshold is not between 0 and 1, and what `check_comparable` raises.
    """
    if not 0 < threshold <= 1:
        raise QueryError(f"threshold {threshold}: give one above 0 and up to 1")
    rows = read_comparable(table, where)
    return compare(rows, threshold, progress)


@dataclass(frozen=True)
class ComparableRows:
    """Rows in the order of their ids. ``files`` are the hashes of their files, "" if unknown, and
    ``vectors`` are of length 1, float32 of shape (rows, dim)."""

    ids: list[int]
    urls: list[str]
    captions: list[str]
    files: list[str]
    vectors: NDArray[np.float32]


def compare(
    rows: ComparableRows, threshold: float, progress: Progress | None = None
) -> list[DuplicateGroup]:
    """The groups of ``rows``, the largest first. It reads nothing more of the table."""
    found = [
        _group(rows, places.tolist()) for places in connected(rows.vectors, threshold, progress)
    ]
    return sorted(found, key=lambda group: (-len(group.rows), group.rows[0].id))


def check_comparable(
    table: TableHandle,
    where: str | None = None,
    filter: Filter | None = None,
    most: int = MOST_ROWS,
) -> Condition | None:
    """The condition on rows to compare. Raises TableError if they have no image vectors, or if they
    are more than ``most``; ConditionError if the engine does not take ``where``."""
    if embedding_column("image") not in table.columns:
        raise TableError(f"table {table.name} has no {embedding_column('image')} to compare")
    condition = every(
        typed_condition(where, list(table.columns)),
        filter.condition(table.columns) if filter else None,
    )
    sql = f"SELECT count() AS rows FROM {table.sql} {_clause(condition)}"
    with explained(condition, sql):
        rows = table.connection.rows(sql, condition.parameters if condition else {})[0]["rows"]
    if rows > most:
        raise TableError(
            f"table {table.name}: {rows:,} rows to compare with one another, and at most {most:,} "
            "are; choose some of them with a filter (--where)"
        )
    return condition


def read_comparable(
    table: TableHandle,
    where: str | None = None,
    filter: Filter | None = None,
    most: int = MOST_ROWS,
) -> ComparableRows:
    """The rows that ``where`` and ``filter`` choose, with what is compared. Raises what
    `check_comparable` raises."""
    condition = check_comparable(table, where, filter, most)
    names = [name if name in table.columns else f"'' AS {name}" for name in ("url", "caption")]
    digest = f"ifNull({_HASH}, '')" if _HASH in table.columns else "''"
    time = f"ifNull(toString({_TIME}), '')" if _TIME in table.columns else "''"
    sql = (
        f"SELECT id, {', '.join(names)}, {digest} AS digest, {time} AS time, "
        f"CAST({embedding_column('image')}, 'Array(Float32)') AS vector FROM {table.sql} "
        f"{_clause(condition)} ORDER BY id LIMIT {most}"
    )
    with explained(condition, sql):
        found = table.connection.query(sql, condition.parameters if condition else {})
    vectors = vectors_of(found.column("vector"), table.info.dim)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    ids, urls, captions, digests, times = (
        found.column(name).to_pylist() for name in ("id", "url", "caption", "digest", "time")
    )
    files = [hash and f"{hash} {time}" for hash, time in zip(digests, times, strict=True)]
    return ComparableRows(ids, list(map(local_urls(table.info.roots), urls)), captions, files, unit)


def _clause(condition: Condition | None) -> str:
    return f"WHERE {condition.sql}" if condition else ""


def _group(rows: ComparableRows, places: Sequence[int]) -> DuplicateGroup:
    first = places[0]
    scores = np.minimum(rows.vectors[list(places)] @ rows.vectors[first], 1).tolist()
    files = {rows.files[place] for place in places}
    is_file = len(files) == 1 and files != {""}
    found = tuple(
        DuplicateRow(rows.ids[place], rows.urls[place], rows.captions[place], score)
        for place, score in zip(places, scores, strict=True)
    )
    return DuplicateGroup("file" if is_file else "picture", found)
