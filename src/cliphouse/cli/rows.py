"""Rows of whatever columns on the terminal: a line for each, or a block for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.cells import cell_len

from cliphouse.cli import show
from cliphouse.cli.values import value_text
from cliphouse.engine.arrays import cells

if TYPE_CHECKING:
    import pyarrow as pa

_SHORT, _LONG = 120, 2000  # letters of a value: a cell of a table, and a line of its own
_HEADING = 60  # letters of a heading: that of an expression with a vector in it has thousands
# The columns of EXPLAIN and SHOW CREATE, whose lines and indentation say something.
_LAID_OUT = ("explain", "statement")


def draw_rows(result: pa.Table) -> None:
    """Print rows of whatever columns they have: a line for each, or a block for each if a line
    would be wider than the terminal."""
    if result.column_names in ([name] for name in _LAID_OUT):
        show.out.print(result.column_names[0], style="bold")
        for text in cells(result.column(0)):
            for line in str(text).splitlines():
                show.out.print(show.plain(line), markup=False)
    elif result.column_names:
        headings = _headings(result)
        rows = _rows(result, _short_texts)
        if show.is_wide(headings, rows):
            draw_vertical(result)
        else:
            show.lines(headings, rows, bounded=False)


def draw_vertical(result: pa.Table, digits: int | None = None) -> None:
    """Print each row as a block with a line for each column, as ClickHouse's own client does. Of a
    fraction ``digits`` are printed, or all."""
    headings = _headings(result)
    width = max(map(cell_len, headings), default=0) + 1
    rows = _rows(result, lambda column: _long_texts(column, digits))
    for number, row in enumerate(rows, 1):
        title = f"Row {number}:"
        show.out.print(f"{title}\n{'─' * len(title)}", style="bold")
        for heading, text in zip(headings, row, strict=True):
            padded = f"{heading}:" + " " * (width - 1 - cell_len(heading))
            show.out.print(f"{padded} {show.plain(text)}", markup=False)
        show.out.print()


def _headings(result: pa.Table) -> list[str]:
    return [_cut(show.plain(name), _HEADING) for name in result.column_names]


def _rows(result: pa.Table, texts: Callable[[pa.ChunkedArray], list[str]]) -> list[tuple[str, ...]]:
    return list(zip(*map(texts, result.columns), strict=True))


def _short_texts(column: pa.ChunkedArray) -> list[str]:
    return [_one_line(value_text(v, column.type, _SHORT), _SHORT) for v in cells(column)]


def _long_texts(column: pa.ChunkedArray, digits: int | None) -> list[str]:
    """Lists are as short as in a line."""
    import pyarrow as pa

    if digits is not None and pa.types.is_floating(column.type):
        return ["NULL" if v is None else f"{v:.{digits}g}" for v in cells(column)]
    if pa.types.is_nested(column.type):
        return _short_texts(column)
    return [_one_line(value_text(v, column.type), _LONG) for v in cells(column)]


def _one_line(text: str, limit: int) -> str:
    return _cut(" ".join(text.split()), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
