"""cliphouse download"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cliphouse.cli import interrupt, options, show
from cliphouse.json_text import to_json
from cliphouse.shards.numbering import format_shard_numbers, parse_shard_numbers
from cliphouse.shards.progress import DownloadProgress, Step
from cliphouse.shards.urls import DEFAULT_SOURCE, KINDS

if TYPE_CHECKING:
    from cliphouse.shards.download import DownloadReport

_LOG_SECONDS = 10.0


def command(
    shards: Annotated[
        str,
        typer.Argument(
            help="Shard numbers, for example 0-9,12,400-409, or all (0-409).", metavar="SHARDS"
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder for the shards.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="The source: a folder at http(s)://, s3://, gs://, hf:// or file://, or an "
            "address with {n} in place of the shard number.",
        ),
    ] = DEFAULT_SOURCE,
    jobs: Annotated[
        int, typer.Option(min=1, help="Number of files to download at the same time.")
    ] = 4,
    only: Annotated[
        str, typer.Option(help="The parts of a shard to download, separated by commas.")
    ] = ",".join(KINDS),
    json: options.Json = False,
) -> None:
    """Download shards. Run it again to continue: it downloads only the files that are missing.

    The exit code is 1 if a file is still missing at the end.
    """
    from cliphouse.shards.download import download  # its HTTP client is slow to import

    numbers = parse_shard_numbers(shards)
    interrupt.keep("what has arrived is kept; run the same command again to continue")
    with _progress() as tell:
        report = download(numbers, to, source, only.split(","), jobs, tell)
    if json:
        facts = asdict(report) | {"is_complete": report.is_complete}
        show.out.print(to_json(facts), markup=False)
    else:
        _summarise(report)
    if not report.is_complete:
        raise typer.Exit(1)


def _summarise(report: DownloadReport) -> None:
    lacking = [*report.missing, *report.failed]
    if lacking:
        alike: dict[tuple[str, str, str], list[int]] = {}
        for file in lacking:
            alike.setdefault((file.kind, file.outcome, file.reason), []).append(file.shard)
        rows = [
            (kind, format_shard_numbers(numbers), outcome, reason)
            for (kind, outcome, reason), numbers in alike.items()
        ]
        show.table(("part", "shards", "outcome", "reason"), rows)
    rate = report.arrived / max(report.seconds, 1e-9)
    show.out.print(
        f"{len(report.fetched):,} fetched ({show.size(report.arrived)} in "
        f"{show.seconds(report.seconds)}, {show.size(rate)}/s), {len(report.there):,} already "
        f"there, {len(report.missing):,} missing, {len(report.failed):,} failed",
        markup=False,
    )
    if lacking and report.source == DEFAULT_SOURCE:
        show.out.print("LAION's own host may no longer serve these files; name another with --from")
    elif report.failed:
        show.out.print("run the same command again to continue")


@contextmanager
def _progress() -> Iterator[DownloadProgress]:
    """Bars on a terminal, one for all files and one for each file; plain lines in a log."""
    if not show.err.is_terminal:
        yield _Log().tell
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=show.err, transient=True) as bars:
        yield _Bars(bars).tell


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._all = bars.add_task("asking", total=None)
        self._files: dict[str, TaskID] = {}

    def tell(self, step: Step) -> None:
        if step.state == "asking":
            self._bars.update(self._all, description=escape(_line(step)))
            return
        self._bars.update(
            self._all,
            description=f"{step.files_over:,} of {step.files:,} files",
            completed=step.arrived,
            total=step.expected,
        )
        if step.state not in ("arriving", "waiting"):
            if step.name in self._files:
                self._bars.remove_task(self._files.pop(step.name))
            if step.reason:
                self._bars.console.print(_line(step), markup=False)
            return
        if step.name not in self._files:
            self._files[step.name] = self._bars.add_task("", completed=step.done)
        words = f"{step.name}: {step.reason}" if step.reason else step.name
        self._bars.update(
            self._files[step.name],
            description=escape(words),
            completed=step.done,
            total=step.size,
        )


class _Log:
    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def tell(self, step: Step) -> None:
        now = time.monotonic()
        if step.state != "arriving":
            show.err.print(_line(step), markup=False)
        elif now - self._last < _LOG_SECONDS:
            return
        else:
            show.err.print(self._overall(step, now - self._started), markup=False)
        self._last = now

    def _overall(self, step: Step, seconds: float) -> str:
        rate = step.arrived / max(seconds, 1e-9)
        line = (
            f"download: {step.files_over:,} of {step.files:,} files, "
            f"{show.size(step.arrived)}, {show.size(rate)}/s"
        )
        if step.expected is None or not rate:
            return line
        return f"{line}, about {show.seconds((step.expected - step.arrived) / rate)} left"


def _line(step: Step) -> str:
    if step.state == "fetched":
        return f"{step.name}: {show.size(step.done)} ({step.files_over:,} of {step.files:,} files)"
    state = "" if step.state in ("asking", "waiting") else f"{step.state}, "
    return f"{step.name}: {state}{step.reason}"
