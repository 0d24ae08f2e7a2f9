"""What embed and sync say of a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cliphouse.cli import options, show

if TYPE_CHECKING:
    from cliphouse.pictures.embed import EmbedReport

_NAMED = 20

MaxPixels = Annotated[int, typer.Option(min=1, help="Larger pictures are passed over.")]
Report = Annotated[
    Path | None,
    typer.Option("--report", help="Write everything that is passed over to this CSV file."),
]
AllowDelete = Annotated[
    bool,
    typer.Option(
        "--allow-delete", help="Let more than half of the folder's pictures lose their rows."
    ),
]
MovedFrom = Annotated[
    Path | None,
    typer.Option(
        help="Where the folder was before. Needed only if no picture can tell by its bytes."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done, picture by picture.")
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        min=0,
        metavar="SECONDS",
        callback=options.seconds,
        help="How many seconds to wait for another run that writes to the same shards, and for the "
        "database.",
    ),
]


Every = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=86_400,
        metavar="SECONDS",
        help="Of a video, take one frame in so many seconds. [10, or as before]",
        show_default=False,
    ),
]


Scenes = Annotated[
    bool,
    typer.Option("--scenes", help="Of a video, take the first frame of each scene."),
]


def tell_wait(holder: str) -> None:
    show.err.print(f"waiting for {holder}", markup=False)


def tell_scenes(video: Path) -> None:
    show.err.print(show.plain(f"finding the scenes of {video}"), markup=False)


def tell(done: EmbedReport, is_listed: bool = False, dry_run: bool = False) -> None:
    """Print what was done, or would be, and name what was passed over and was not before; the first
    of it only, if not all of it is listed in a file (``is_listed``)."""
    from cliphouse.pictures.passed_over import describe

    before = set(done.named_before)
    named = [item for item in done.skipped if item.kind != "hidden" and item not in before]
    for item in named[:_NAMED]:
        show.err.print(show.plain(f"passed over {item.path}: {item.reason}"), markup=False)
    if len(named) > _NAMED and not is_listed:
        show.err.print(f"... and {len(named) - _NAMED:,} more; --report FILE lists all")
    if done.root is not None and done.moved_from is not None:
        line = f"root {done.root.name} has moved from {done.moved_from} to {done.root.place}"
        show.out.print(show.plain(line), markup=False)
    if dry_run:
        for line in _changes(done):
            show.out.print(show.plain(line), markup=False)
    show.out.print(
        f"{done.new:,} new, {done.changed:,} changed, {done.renamed:,} renamed, "
        f"{done.gone:,} gone, {done.unchanged:,} unchanged"
    )
    if done.skipped:
        show.out.print(f"passed over: {describe(done.skipped)}", markup=False)


def write(done: Sequence[EmbedReport], file: Path | None) -> None:
    """Write all that was passed over to ``file``, if there is one."""
    if file is not None:
        from cliphouse.pictures.passed_over import write_report

        write_report([item for each in done for item in each.skipped], file)


def _changes(done: EmbedReport) -> Iterator[str]:
    changes = done.changes
    yield from (f"new      {picture.name}" for picture in changes.new)
    yield from (f"changed  {change.picture.name}" for change in changes.changed)
    for change in changes.described:
        if change.is_renamed:
            yield f"renamed  {change.row.path} to {change.picture.name}"
        elif change.is_described_anew:
            yield f"caption  {change.picture.name}"
    yield from (f"gone     {row.path}" for row in changes.gone)
