"""Output for people: tables, sizes, and progress as bars on a terminal or lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from cliphouse.vocabulary import BuildProgress, Progress

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table

out = Console(highlight=False, soft_wrap=True, emoji=False)
if not out.is_terminal:
    out.width = 200  # a pipe or a file has no width to fit
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
_LOG_SECONDS = 10.0


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
        task = bars.add_task(what, total=None, rate="")

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
def shares(what: str) -> Iterator[BuildProgress]:
    """Show the progress of a build: yields a function to call with the finished share, 0 to 1, of
    each node by its name.

    On a terminal there is a bar for each node, in a log a line with the mean."""
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
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(done: Mapping[str, float]) -> None:
            for node, share in done.items():
                if node not in tasks:
                    tasks[node] = bars.add_task(f"{what} {node}".strip(), total=1.0)
                bars.update(tasks[node], completed=share)

        yield advance


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], right: str = "") -> Table:
    """A table for the terminal. ``right`` has a letter for each column: 'r' aligns it right, as in
    'lrr'. Cells are text, never markup."""
    from rich.table import Table
    from rich.text import Text

    built = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        is_right = right[index : index + 1] == "r"
        built.add_column(heading, justify="right" if is_right else "left", overflow="fold")
    for row in rows:
        built.add_row(*(Text(plain(str(cell))) for cell in row))
    return built


def plain(text: str) -> str:
    """``text`` without control characters: captions and urls come from strangers."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def size(count: float) -> str:
    """Bytes as text, as in 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def seconds(count: float) -> str:
    """A time as text, as in 0.8 s, 12 s or 3 min 5 s."""
    if count < 10:
        return f"{count:.1f} s"
    minutes, rest = divmod(round(count), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
