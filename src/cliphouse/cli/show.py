"""Output for people: tables, sizes, and progress as bars on a terminal or lines in a log."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console

from cliphouse.vocabulary import BuildProgress, Progress
from cliphouse.wording import in_order
from cliphouse.wording import size as size  # of the output's words, like seconds below

if TYPE_CHECKING:
    from rich.progress import TaskID

out = Console(highlight=False, soft_wrap=True, emoji=False)
if not out.is_terminal:
    out.width = 200  # a pipe or a file has no width to fit
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
_LOG_SECONDS = 10.0
_JOINERS = "\u200c\u200d\u200e\u200f"  # and marks that texts of right-to-left scripts have
_GAP = "  "
_LEAST = 32  # columns that a text keeps, however long its line is; a time with its zone fits
PATHS = ("url", "folder", "name")  # columns of which nothing is ever cut


@contextmanager
def progress(what: str, unit: str = "rows") -> Iterator[Progress]:
    """Show progress: yields a function to call with (done, total).

    On a terminal it is a bar with rate and time left, in a log a line every ten seconds."""
    if err.is_terminal:
        with _bar(what, unit) as advance:
            yield advance
    else:
        yield _log(what, unit)


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Progress]:
    from rich import progress as rich  # slow to import, and only terminals have bars

    columns = (
        rich.SpinnerColumn(),
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    started = time.monotonic()
    with rich.Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task(what, total=None, rate=f"0 {unit}/s")

        def advance(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            bars.update(task, completed=done, total=total, rate=f"{rate:,.0f} {unit}/s")

        yield advance


def _log(what: str, unit: str) -> Progress:
    started = last = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _LOG_SECONDS:
            return
        last = now
        rate = done / (now - started)
        left = f", {rate:,.0f}/s, {seconds((total - done) / rate)} left" if done else ""
        err.print(f"{what}: {done:,} of {total:,} {unit}{left}")

    return advance


@contextmanager
def shares(what: str, rows: int | None = None) -> Iterator[BuildProgress]:
    """Show the progress of a build: yields a function to call with the finished share, 0 to 1, of
    each node by its name.

    On a terminal there is a bar for each node, in a log a line with the mean. The rate is that of
    ``rows``, if the only node has so many, else of the share."""
    if not err.is_terminal:
        log = _log(what, "%")
        yield lambda done: log(round(sum(done.values()) / max(1, len(done)) * 100), 100)
        return
    from rich import progress as rich

    columns = (
        rich.SpinnerColumn(),
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TaskProgressColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    started = time.monotonic()
    with rich.Progress(*columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(done: Mapping[str, float]) -> None:
            taken = max(time.monotonic() - started, 1e-9)
            for node, share in done.items():
                if node not in tasks:
                    tasks[node] = bars.add_task(f"{what} {node}".strip(), total=1.0, rate="")
                rate = share_rate(share, taken, rows if len(done) == 1 else None)
                bars.update(tasks[node], completed=share, rate=rate)

        yield advance


def share_rate(share: float, taken: float, rows: int | None = None) -> str:
    """How fast a build is that finished ``share`` in ``taken`` seconds, in rows or in percent."""
    if rows is not None:
        return f"{share * rows / taken:,.0f} rows/s"
    for unit, length in (("s", 1), ("min", 60)):
        if 100 * share * length / taken >= 1:
            return f"{100 * share * length / taken:.1f} %/{unit}"
    return f"{360_000 * share / taken:.1f} %/h"


def lines(
    headings: Sequence[str], rows: Sequence[Sequence[object]], right: str = "", bounded: bool = True
) -> None:
    """Print one line for each row. If it is wider than the terminal, long texts are cut, and paths
    never. ``right`` is as in ``table``; a list that is not ``bounded`` cuts nothing.

    Unlike the cells of a table, no cell goes on below: a path can be copied and clicked."""
    from rich.text import Text

    cells = [[Text(plain(str(cell))) for cell in row] for row in rows]
    heads = [Text(heading, style="bold") for heading in headings]
    widths = [max(cell.cell_len for cell in column) for column in zip(heads, *cells, strict=True)]
    if bounded:
        widths = _fitting(widths, headings, out.width)
    for line in (heads, *cells):
        for cell, width, heading, side in zip(line, widths, headings, _sides(right), strict=False):
            if heading not in PATHS:
                cell.truncate(width, overflow="ellipsis")
            cell.align("right" if side == "r" else "left", max(width, cell.cell_len))
        joined = Text(_GAP).join(line)
        joined.rstrip()
        out.print(joined)


def is_wide(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a line of such a list would be wider than the terminal; a pipe has no width."""
    if not out.is_terminal:
        return False
    columns = zip(headings, *rows, strict=True)
    widths = [max(map(cell_len, column)) for column in columns]
    return sum(widths) + len(_GAP) * (len(widths) - 1) > out.width


def _sides(right: str) -> Iterator[str]:
    yield from right
    while True:
        yield "l"


def _fitting(widths: Sequence[int], headings: Sequence[str], most: int) -> list[int]:
    """The widths of columns, of which those of long texts share what the others leave."""
    fitting = list(widths)
    long = [
        n
        for n, (width, heading) in enumerate(zip(widths, headings, strict=True))
        if heading not in PATHS and width > _LEAST
    ]
    room = most - len(_GAP) * (len(widths) - 1)
    room -= sum(width for n, width in enumerate(widths) if n not in long)
    for left, n in enumerate(sorted(long, key=lambda n: widths[n])):
        fitting[n] = min(widths[n], max(_LEAST, room // (len(long) - left)))
        room -= fitting[n]
    return fitting


def in_columns(texts: Sequence[str], width: int, gap: int) -> None:
    """Print texts side by side on one line, each cut to ``width``."""
    from rich.text import Text

    line = Text()
    for text in texts:
        cell = Text(plain(text))
        cell.truncate(width, overflow="ellipsis", pad=True)
        line.append_text(cell).append(" " * gap)
    line.rstrip()
    out.print(line)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], right: str = "") -> None:
    """Print a table, or, if it is wider than the terminal, a paragraph for each row, in which each
    value has its heading. ``right`` has a letter for each column: 'r' aligns it right, as in 'lrr'.
    Cells are text, never markup."""
    from rich.table import Table
    from rich.text import Text

    cells = [[plain(str(cell)) for cell in row] for row in rows]
    if is_wide(headings, cells):
        for row in cells:
            pairs = zip(headings, row, strict=True)
            named = [f"{name}: {cell}" if name else cell for name, cell in pairs if cell]
            out.print(_paragraph(named, out.width), markup=False)
        return
    built = Table(box=None, pad_edge=False, header_style="bold")
    for heading, side in zip(headings, _sides(right), strict=False):
        built.add_column(heading, justify="right" if side == "r" else "left", overflow="fold")
    for row in cells:
        built.add_row(*map(Text, row))
    out.print(built)


def _paragraph(pieces: Sequence[str], width: int) -> str:
    """Pieces of text on lines that fit, of which all but the first are indented. A piece goes on
    below between its words; a longer word is left whole, and the terminal breaks it."""
    room, found = width - len(_GAP), list[str]()
    for line in _filled(pieces, room, _GAP):
        found += [line] if cell_len(line) <= room else _filled(line.split(" "), room)
    return f"\n{_GAP}".join(found)


def _filled(pieces: Sequence[str], width: int, gap: str = " ") -> list[str]:
    """Pieces of text put on as few lines of this width as they take in their order."""
    found: list[str] = []
    for piece in pieces:
        if found and cell_len(found[-1]) + len(gap) + cell_len(piece) <= width:
            found[-1] += gap + piece
        else:
            found.append(piece)
    return found


def facts(known: Sequence[tuple[str, str]]) -> None:
    """Print what each thing is: names below each other, and beside them the values, which go on
    below between their words."""
    left = max(len(name) for name, _ in known) + len(_GAP)
    for name, value in known:
        below = f"\n{' ' * left}".join(_filled(plain(value).split(" "), out.width - left))
        out.print(f"{name:<{left}}{below}", markup=False)


def plain(text: str) -> str:
    """``text`` without control characters: captions and urls come from strangers. Blanks of every
    kind stay, since file names have them, and what joins letters and emoji. What changes the
    direction of writing is written out (see in_order)."""
    return "".join(letter if _is_plain(letter) else " " for letter in in_order(text))


def path(text: str) -> str:
    """A path that can be copied to a shell: one that cannot be printed as it is, such as one with a
    line break in it, as ``$'...'``."""
    if plain(text) == text:
        return text
    return f"$'{''.join(map(_escaped, text))}'"


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter in "\n\r\t":
        return repr(letter)[1:-1]
    if plain(letter) == letter:
        return letter
    return "".join(f"\\x{byte:02x}" for byte in letter.encode(errors="surrogatepass"))


def _is_plain(letter: str) -> bool:
    return letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs"


def seconds(count: float) -> str:
    """A time as text, as in 0.8 s, 12 s, 3 min 5 s or 2 h 10 min."""
    if count < 10:
        return f"{count:.1f} s"
    minutes, rest = divmod(round(count), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
