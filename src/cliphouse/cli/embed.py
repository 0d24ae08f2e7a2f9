"""cliphouse embed"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cliphouse.cli import interrupt, options, passed_over, show
from cliphouse.engine.occupant import WAIT_SECONDS
from cliphouse.models import DEFAULT_MODEL, load_encoder
from cliphouse.pictures.formats import MAX_PIXELS
from cliphouse.wording import counted

if TYPE_CHECKING:
    from cliphouse.pictures.datasets.report import DatasetReport, InputReport


def command(
    pictures: Annotated[
        str,
        typer.Argument(
            help="A folder of pictures; or a dataset of img2dataset, a folder or URL of .tar, "
            ".parquet or folders of files.",
            metavar="DIR",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder for the shards.")],
    model: options.Model = None,
    model_dir: options.ModelDir = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    max_pixels: passed_over.MaxPixels = MAX_PIXELS,
    every: passed_over.Every = None,
    scenes: passed_over.Scenes = False,
    allow_delete: passed_over.AllowDelete = False,
    moved_from: passed_over.MovedFrom = None,
    dry_run: passed_over.DryRun = False,
    wait: passed_over.Wait = WAIT_SECONDS,
    report: passed_over.Report = None,
) -> None:
    """Turn pictures into shards. Run it again, and only what has changed is done.

    Captions come from a sidecar NAME.txt, from captions.csv (columns file and caption), or from
    the file's name. `cliphouse sync` does this and keeps a table in step.

    Each .tar, folder or .parquet of a dataset becomes one shard with all of its metadata. Several
    processes may embed one dataset into one folder. The exit code is 1 if one of its files is cut
    off or cannot be read.
    """
    from cliphouse.pictures.datasets.embed import embed_dataset
    from cliphouse.pictures.datasets.find import find_inputs
    from cliphouse.pictures.embed import EmbedOptions, embed_folder

    interrupt.keep("nothing was changed" if dry_run else interrupt.GOES_ON)
    inputs = find_inputs(pictures)
    encoder = load_encoder(model or DEFAULT_MODEL, options.folder(model_dir), threads, device)
    with show.progress("embed", "pictures") as advance:
        if inputs is not None:
            read = embed_dataset(inputs, to, encoder, advance, _tell_input, max_pixels)
        else:
            chosen = EmbedOptions(
                max_pixels=max_pixels,
                allow_delete=allow_delete,
                moved_from=moved_from,
                dry_run=dry_run,
                wait=wait,
                on_wait=passed_over.tell_wait,
                every=every,
                scenes=scenes,
                on_scenes=passed_over.tell_scenes,
            )
            done = embed_folder(Path(pictures), to, encoder, advance, chosen)
    if inputs is None:
        passed_over.tell(done, report is not None, dry_run)
        passed_over.write([done], report)
        return
    _tell_dataset(read)
    if not read.is_complete:
        raise typer.Exit(1)


def _tell_input(report: InputReport) -> None:
    """Name what is wrong with an input and its pictures, as soon as that is known."""
    for skipped in report.named:
        line = show.plain(f"skipped {report.name}/{skipped.key}: {skipped.reason}")
        show.err.print(line, markup=False)
    if report.is_cut_off:
        line = f"ends too early ({report.reason}) after {counted(report.rows, 'picture')}"
    elif report.outcome == "failed":
        line = f"cannot be read: {report.reason}"
    elif report.outcome == "busy":
        line = f"left to {report.reason}"
    else:
        return
    show.err.print(f"{report.name}: {line}", markup=False)


def _tell_dataset(report: DatasetReport) -> None:
    new, there = report.of("embedded"), report.of("there")
    failed, busy = report.of("failed"), report.of("busy")
    known = [*new, *there]
    cut = sum(one.is_cut_off for one in known)
    absent = sum(one.absent for one in known)
    rows = counted(sum(one.rows for one in new), "picture")
    parts = [
        f"{rows} embedded from {counted(len(new), 'file')}",
        f"{sum(one.rows for one in there):,} there from {counted(len(there), 'file')}",
        f"{sum(one.skipped for one in known):,} skipped",
    ]
    parts += [f"{absent:,} that img2dataset did not get"] if absent else []
    parts += [f"{counted(cut, 'file')} cut off"] if cut else []
    parts += [f"{counted(len(failed), 'file')} unreadable"] if failed else []
    parts += [f"{counted(len(busy), 'file')} left to other processes"] if busy else []
    show.out.print(", ".join(parts))
