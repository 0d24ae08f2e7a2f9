"""cliphouse sync"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import cliphouse
from cliphouse.cli import interrupt, options, passed_over, show
from cliphouse.cli.opening import open_table, patience
from cliphouse.engine.occupant import WAIT_SECONDS
from cliphouse.errors import UserError
from cliphouse.json_text import to_json
from cliphouse.pictures.formats import MAX_PIXELS
from cliphouse.wording import counted

if TYPE_CHECKING:
    from cliphouse.loading.sync import RootSync, SyncOptions, SyncReport
    from cliphouse.vocabulary import Progress


def command(
    pictures: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of pictures. By default all that the table has.", metavar="DIR"
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            "--root",
            metavar="NAME[=DIR]",
            help="What the table calls the folder, also if it has moved to DIR. Without a folder, "
            "the one of this name. By default the folder's own name.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The folder for the shards. By default DB.shards/TABLE."),
    ] = None,
    max_pixels: passed_over.MaxPixels = MAX_PIXELS,
    every: passed_over.Every = None,
    scenes: passed_over.Scenes = False,
    allow_delete: passed_over.AllowDelete = False,
    moved_from: passed_over.MovedFrom = None,
    dry_run: passed_over.DryRun = False,
    wait: passed_over.Wait = WAIT_SECONDS,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and follow each change until Ctrl-C.")
    ] = False,
    report: passed_over.Report = None,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    model: options.Model = None,
    model_dir: options.ModelDir = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Make the table what a folder of pictures is now. New ones are embedded, changed ones again,
    renamed ones keep their rows, and those that are gone lose them.

    Captions come from a sidecar NAME.txt, from captions.csv (columns file and caption), or from
    the file's name.
    """
    from cliphouse.loading.sync import SyncOptions
    from cliphouse.pictures.embed import EmbedOptions
    from cliphouse.pictures.roots import parse_root

    name, place = parse_root(root) if root is not None else (None, None)
    if pictures is not None and place is not None:
        raise UserError(f"--root {root}: give the folder once, there or before")
    if pictures is None and root is None:
        for option, is_given in (("--watch", watch), ("--moved-from", moved_from is not None)):
            if is_given:
                raise UserError(f"{option}: give the folder, or its root with --root")
    interrupt.keep("nothing was changed" if dry_run else interrupt.GOES_ON)
    embed = EmbedOptions(
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
    chosen = SyncOptions(to, name, embed)
    with open_table(
        db,
        table,
        model,
        options.folder(model_dir),
        device=device,
        threads=threads,
        wait=patience(wait),
    ) as opened:
        if pictures is None and root is None:
            _all_roots(opened, chosen, report, json)
            return
        with show.progress("sync", "pictures") as advance:
            done = opened.sync(pictures or place, chosen, advance)
        _tell(done, report, json, dry_run)
        if done.rows is not None and not json:
            show.out.print(
                f"{counted(done.rows.rows, 'picture')} in table {table} of {db}", markup=False
            )
            _tell_extended(done)
        if watch:
            _watch(opened, done.folder, chosen, report, json)


def _all_roots(
    table: cliphouse.Table, options: SyncOptions, report: Path | None, json: bool
) -> None:
    """Sync all roots of the table. Exits with 1 if one was refused."""
    done: list[RootSync] = []
    advance: Progress
    roots = table.sync_roots(options, lambda count, total: advance(count, total))
    while True:
        with show.progress("sync", "pictures") as advance:
            one = next(roots, None)
        if one is None:
            break
        done.append(one)
        if not json:
            _tell_root(one, report is not None, options.embed.dry_run)
    reports = [one.report for one in done if one.report is not None]
    passed_over.write([each.pictures for each in reports], report)
    if json:
        print(to_json([_root_record(one) for one in done]))
    elif any(each.rows is not None for each in reports):
        rows = next(each.rows.rows for each in reversed(reports) if each.rows is not None)
        name = f"table {table.name} of {table.address.shown}"
        show.out.print(f"{counted(rows, 'picture')} in {name}", markup=False)
    if any(one.problem is not None and not one.is_away for one in done):
        raise typer.Exit(1)


def _tell_root(one: RootSync, is_listed: bool, dry_run: bool) -> None:
    name = show.plain(f"root {one.root.name}, {one.root.place}")
    if one.report is None:
        problem = (one.problem or "").removeprefix(f"{one.root.place}: ")
        show.err.print(f"{name}: {show.plain(problem)}", markup=False)
        return
    show.out.print(name, markup=False)
    passed_over.tell(one.report.pictures, is_listed, dry_run)
    _tell_extended(one.report)


def _root_record(one: RootSync) -> dict[str, object]:
    if one.report is not None:
        return _record(one.report)
    return {"root": one.root.name, "place": one.root.place, "problem": one.problem}


def _watch(
    table: cliphouse.Table, folder: Path, options: SyncOptions, report: Path | None, json: bool
) -> None:
    """Sync after each change until Ctrl-C, and tell what has changed."""
    from cliphouse.errors import CliphouseError
    from cliphouse.pictures.watch import quiet_moments

    interrupt.keep(
        "the table is as the last sync left it; the same command follows the folder again"
    )
    show.err.print(f"watching {folder}; Ctrl-C ends it", markup=False)
    for _ in quiet_moments(folder, threading.Event()):
        try:
            done = table.sync(folder, options)
        except CliphouseError as error:  # such as a folder that is not there for a while
            show.err.print(f"cliphouse: {error}", markup=False)
            continue
        if not done.pictures.changes.is_none:
            _tell(done, report, json)


def _tell(done: SyncReport, report: Path | None, json: bool, dry_run: bool = False) -> None:
    passed_over.write([done.pictures], report)
    if json:
        print(to_json(_record(done)), flush=True)
    else:
        passed_over.tell(done.pictures, report is not None, dry_run)


def _tell_extended(done: SyncReport) -> None:
    """Say what became of the indexes of embeddings."""
    if done.extended is None:
        return
    names, rows = " and ".join(done.extended.names), counted(done.extended.rows, "row")
    if done.extended.is_built:
        show.out.print(f"{names}: extended by {rows}")
    else:
        show.out.print(f"{names}: searches scan {rows} beside it; to extend it: cliphouse index")


def _record(done: SyncReport) -> dict[str, object]:
    pictures = done.pictures
    counts = ("new", "changed", "renamed", "gone", "unchanged")
    passed = [
        {"path": str(item.path), "kind": item.kind, "reason": item.reason}
        for item in pictures.skipped
    ]
    return {
        **{name: getattr(pictures, name) for name in counts},
        "root": pictures.root.name if pictures.root is not None else None,
        "moved_from": pictures.moved_from,
        "rows": done.rows.rows if done.rows is not None else None,
        "shards": str(done.shards),
        "passed_over": passed,
    }
