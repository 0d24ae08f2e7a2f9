"""What a search gives back: the hits, and how they were found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cliphouse.errors import QueryError
from cliphouse.search.hits import Hit, HitField, hit_fields

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from numpy.typing import NDArray

    Vectors = Callable[[Sequence[int]], NDArray[np.float32]]


@dataclass(frozen=True)
class SearchStats:
    """How a search was done.

    ``width`` is the ef of mode hnsw or the oversampling of mode codes. ``recall`` is the measured
    recall@k of this mode and width for this kind of query: 1.0 for exact, None if it was not
    measured. ``reason`` says why the mode was chosen, ``filtered`` how a filter was applied (empty
    without one). Times are in milliseconds. ``rows_read`` counts the rows that an embedded engine
    read; it is None if the search was not asked to count them. ``weak_below`` is the score below
    which a hit is no better than unrelated rows; it is None if the search was not asked for it, or
    the table is too small to say (see cliphouse.search.background).
    """

    mode: str
    width: int | None
    recall: float | None
    reason: str
    filtered: str
    metric: str
    modality: str
    query: str
    k: int
    encode_ms: float
    search_ms: float
    rows_read: int | None = None
    weak_below: float | None = None


@dataclass(frozen=True)
class SearchResult(Sequence[Hit]):
    """The hits, with how they were found (``stats``) and the statement (``sql``).

    The nearest hit comes first, unless the request sorts them. ``cursor`` is the token of the next
    page, None if no more rows can follow. ``fields`` are the columns that the hits show.
    ``vectors`` reads the embeddings of rows by their ids; it is None for the hits of a service,
    which sends none. A notebook shows the pictures of the hits.
    """

    hits: tuple[Hit, ...]
    stats: SearchStats
    sql: str
    cursor: str | None = None
    fields: tuple[HitField, ...] = hit_fields()
    vectors: Vectors | None = field(default=None, repr=False, compare=False)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def to_dict(self) -> dict[str, Any]:
        """``hits``, ``search`` and ``cursor``, as the command line prints them in JSON."""
        return {
            "hits": [hit.to_dict() for hit in self.hits],
            "search": asdict(self.stats),
            "cursor": self.cursor,
        }

    def to_arrow(self) -> pa.Table:
        """A row for each hit, a column for each of its values (see cliphouse.search.arrow)."""
        from cliphouse.search.arrow import hits_table

        return hits_table(self, self.fields)

    def to_pandas(self) -> pd.DataFrame:
        """The same as a pandas data frame. Raises QueryError if pandas is not installed."""
        try:
            return self.to_arrow().to_pandas()
        except ImportError as error:
            raise QueryError("pandas is not installed: pip install pandas") from error

    def to_polars(self) -> pl.DataFrame:
        """The same as a polars data frame. Raises QueryError if polars is not installed."""
        try:
            import polars
        except ImportError as error:
            raise QueryError("polars is not installed: pip install polars") from error
        return polars.DataFrame(self.to_arrow())

    def to_numpy(self) -> NDArray[np.float32]:
        """The searched embeddings of the hits, float32 of shape (hits, dim), read from the table.

        Raises QueryError if the hits are a service's, MissingError if a row has gone since.
        """
        if self.vectors is None:
            raise QueryError("a service sends no embeddings: search the table itself")
        return self.vectors([hit.id for hit in self.hits])

    def show(self) -> Path:
        """Write a contact sheet of the hits whose pictures are local files, open it in the system's
        own viewer if there is one, and return its file. Raises PictureError if there is no such
        picture."""
        from cliphouse.search.display import open_outside, save_sheet, sheet_of

        file = save_sheet(sheet_of(self, f"{self.stats.query} query, {len(self)} hits"))
        open_outside(str(file))
        return file

    def _repr_html_(self) -> str:
        from cliphouse.search.display import hits_html

        return hits_html(self)
