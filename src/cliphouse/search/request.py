"""How to search: every option, said once for all who offer it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from cliphouse.errors import QueryError
from cliphouse.search.filter import Filter
from cliphouse.search.methods import AUTO, METHODS, modes
from cliphouse.search.methods.method import Width
from cliphouse.search.option import Form, Option, option, options_of
from cliphouse.search.paging import Cursor
from cliphouse.vocabulary import METRICS, MODALITIES, Metric, Modality

_Request = TypeVar("_Request", bound="Request")

MAX_K = 100_000

_TOKEN = Form(str, Cursor.to_token, Cursor.from_token)
_OBJECT = Form(dict, Filter.to_dict, lambda given: Filter(**given))
_NAMES = Form(str, ",".join, lambda text: tuple(filter(None, map(str.strip, text.split(",")))))
_NOTHING = ("", Filter())


def _mode_help() -> str:
    labels = ", ".join(f"{method.name}: {method.label}" for method in METHODS.values())
    return f"auto uses the fastest mode whose measured recall is good, or else exact. {labels}."


@dataclass(frozen=True)
class _Asked:
    k: int = option(10, help="Number of results.", least=1, most=MAX_K, alike=False)
    modality: Modality = option(
        "image", help="Which embeddings to search.", choices=lambda: MODALITIES
    )
    where: str | None = option(
        None, help="A SQL condition, as in: score > 0.3 AND width > 200", is_sql=True
    )
    metric: Metric = option("cosine", help="The distance function.", choices=lambda: METRICS)
    mode: str = option(
        AUTO,
        help=_mode_help(),
        choices=modes,
        alike=False,
    )


def _width(mode: str, width: Width) -> tuple[str, Any, Any]:
    """The width of a search method as a field."""
    about = {"help": width.help, "least": 1, "most": width.most, "mode": mode, "alike": False}
    return (width.option, int | None, option(None, **about))


if TYPE_CHECKING:  # type checkers see no fields in a class that is made; they know these widths

    @dataclass(frozen=True)
    class _Wide(_Asked):
        oversampling: int | None = None
        ef: int | None = None

else:
    _widths = [_width(m.name, m.width) for m in METHODS.values() if m.width is not None]
    _Wide = make_dataclass("_Wide", _widths, bases=(_Asked,), frozen=True)


@dataclass(frozen=True)
class Request(_Wide):
    """How to search: ``k`` rows after the first ``offset``, or after the place a ``cursor`` marks.

    ``where`` is a SQL condition, ``filter`` one for programs, ``min_score`` a bound of the score;
    all must hold. Each search method
    has its width as a field: ``ef`` is that of mode hnsw, ``oversampling``, how many times k rows
    are compared exactly, that of mode codes. ``dedup`` is the cosine similarity from which a row
    is a near-duplicate of a nearer one and left out. ``fields`` are the columns that hits show,
    None for all of them. ``sort`` names a column that the hits of a page are sorted by, with a
    minus before it for the largest first; they are the same k nearest rows as without it. No search
    goes deeper than MAX_K rows.

    The command line, REST, the client and searches copied as code offer each field as its option
    says (see cliphouse.search.option).

    Raises QueryError if a value is out of its range.
    """

    filter: Filter | None = option(
        None, help="Conditions on the rows; all of them must hold.", form=_OBJECT
    )
    min_score: float | None = option(
        None,
        help="Only rows whose score, the cosine similarity to the query, is at least this.",
        meaning="a cosine similarity",
        least=-1,
        most=1,
    )
    dedup: float | None = option(
        None,
        help="Leave out rows with this cosine similarity to a nearer row, as in 0.94.",
        meaning="a cosine similarity",
        above=0,
        most=1,
    )
    offset: int = option(
        0, help="Skip this many of the nearest rows.", least=0, most=MAX_K, alike=False
    )
    cursor: Cursor | None = option(
        None,
        help="Continue an earlier search: the cursor in its JSON.",
        longest=200,
        alike=False,
        form=_TOKEN,
    )

    fields: tuple[str, ...] | None = option(
        None,
        help="Show only these columns of the rows, as in url,caption; no others are read.",
        word="columns",
        longest=1000,
        alike=False,
        form=_NAMES,
    )
    sort: str | None = option(
        None,
        help="Sort the hits by this column in place of the score, as in aesthetic, or the largest "
        "first, as in -aesthetic. Which rows are found stays the same.",
        longest=300,
        alike=False,
    )
    weak: bool = option(
        False,
        help="Say below which score hits are no better than unrelated rows, as weak_below in the "
        "JSON.",
        alike=False,
    )

    def __post_init__(self) -> None:
        for field, value in self.values():
            if value is field.default:
                continue
            field.check(value)
            if field.mode is not None and value is not None and field.mode != self.mode:
                raise QueryError(
                    f"{field.name} is the width of mode {field.mode}, not of mode {self.mode}"
                )
        if self.k + self.offset > MAX_K:
            raise QueryError(f"k + offset is {self.k + self.offset}; it must be 1 to {MAX_K:,}")
        if self.offset and self.cursor:
            raise QueryError("give an offset or a cursor, not both")
        if self.cursor and self.cursor.of != self.fingerprint:
            raise QueryError(
                "the cursor is of a search with another filter, metric, modality or dedup; leave "
                "it out for the first page"
            )

    @classmethod
    def read(cls: type[_Request], given: Mapping[str, Any]) -> _Request:
        """The request that JSON, a command line or a program has spelled in ``given``.

        Raises QueryError if a value cannot be read or is out of its range.
        """
        fields = {field.name: field for field in options_of(cls)}
        return cls(**{n: fields[n].read(v) if n in fields else v for n, v in given.items()})

    def values(self) -> Iterator[tuple[Option, Any]]:
        """Every option with its value."""
        for field in options_of(type(self)):
            yield field, getattr(self, field.name)

    def given(self) -> Iterator[tuple[Option, Any]]:
        """The options with another value than their default, and that value."""
        return ((o, v) for o, v in self.values() if v != o.default and v not in _NOTHING)

    @property
    def needed(self) -> int:
        """How many of the nearest rows it takes to fill this page."""
        return min(self.k + (self.cursor.seen if self.cursor else self.offset), MAX_K)

    @property
    def fingerprint(self) -> str:
        """Of all that must be alike from page to page."""
        alike = [(field.name, value) for field, value in self.given() if field.alike]
        return hashlib.sha256(repr(alike).encode()).hexdigest()[:12]
