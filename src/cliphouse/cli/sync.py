"""cliphouse sync"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import cliphouse
from cliphouse.cli import options, passed_over, show
from cliphouse.json_text import to_json
from cliphouse.pictures.formats import MAX_PIXELS

if TYPE_CHECKING:
    from cliphouse.loading.sync import SyncReport


def command(
    pictures: Annotated[Path, typer.Argument(help="A folder of pictures.", metavar="DIR")],
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The folder for the shards. By default DB.shards/TABLE."),
    ] = None,
    max_pixels: passed_over.MaxPixels = MAX_PIXELS,
    allow_delete: passed_over.AllowDelete = False,
    dry_run: passed_over.DryRun = False,
    wait: passed_over.Wait = False,
    report: passed_over.Report = None,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    model: options.Model = None,
    model_dir: options.ModelDir = None,
    json: options.Json = False,
) -> None:
    """Make the table what a folder of pictures is now: new ones are embedded, changed ones again,
    renamed ones keep their rows, and those that are gone lose them.

    Captions come from a sidecar NAME.txt, from captions.csv (columns file and caption), or from
    the file's name.
    """
    from cliphouse.loading.sync import SyncOptions
    from cliphouse.pictures.embed import EmbedOptions
    from cliphouse.pictures.passed_over import write_report

    embed = EmbedOptions(
        max_pixels=max_pixels,
        allow_delete=allow_delete,
        dry_run=dry_run,
        wait=wait,
        on_wait=passed_over.tell_wait,
    )
    with (
        cliphouse.open(db, table, model, options.folder(model_dir)) as opened,
        show.progress("sync", "pictures") as advance,
    ):
        done = opened.sync(pictures, SyncOptions(to, embed), advance)
    if json:
        if report is not None:
            write_report(done.pictures.skipped, report)
        print(to_json(_record(done)))
        return
    passed_over.tell(done.pictures, report, dry_run)
    if done.rows is not None:
        show.out.print(f"{done.rows.rows:,} pictures in table {table} of {db}", markup=False)


def _record(done: SyncReport) -> dict[str, object]:
    pictures = done.pictures
    counts = ("new", "changed", "renamed", "gone", "unchanged")
    passed = [
        {"path": str(item.path), "kind": item.kind, "reason": item.reason}
        for item in pictures.skipped
    ]
    return {
        **{name: getattr(pictures, name) for name in counts},
        "rows": done.rows.rows if done.rows is not None else None,
        "shards": str(done.shards),
        "passed_over": passed,
    }
