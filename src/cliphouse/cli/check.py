"""cliphouse check"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.cli.opening import open_table, patience
from cliphouse.engine.address import FolderAddress, parse_address
from cliphouse.engine.folder import is_database
from cliphouse.errors import CliphouseError
from cliphouse.json_text import to_json
from cliphouse.shards.numbering import parse_shard_numbers
from cliphouse.wording import counted

if TYPE_CHECKING:
    from cliphouse.inspection.check import CheckReport


def command(
    places: Annotated[
        list[str] | None,
        typer.Argument(help="Folders of shards, or the guide's CSV files.", metavar="[DIR...]"),
    ] = None,
    shards: Annotated[
        str, typer.Option(help="Only these shards, for example 0-9,12,400-409, or all.")
    ] = "all",
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="First mend what can be mended: the links of a copied database folder, and rows "
            "that are only marked as deleted.",
        ),
    ] = False,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    json: options.Json = False,
) -> None:
    """Check shards and the table without loading anything.

    It reads every vector of the shards and all of their metadata: alignment, dimensions, NaN,
    zeros, norms, damage, missing numbers. If there is a table, it compares the table with its
    ledger, with the files of the shards, and some rows of each shard with what its files hold.
    The exit code is 1 if something is wrong.
    """
    from cliphouse.indexing.deleted import remove_deleted
    from cliphouse.inspection.check import check_shards
    from cliphouse.inspection.repair import link_folder_again

    numbers = parse_shard_numbers(shards)
    reports: dict[str, CheckReport] = {}
    if places:
        reports["shards"] = check_shards(places, numbers)
    address = parse_address(db)
    if repair:
        interrupt.keep(interrupt.GOES_ON)
    if repair and (links := link_folder_again(address)):
        show.err.print(f"{db}: {counted(links, 'link')} of the copied folder made", markup=False)
    if places and isinstance(address, FolderAddress) and not is_database(address.folder):
        show.err.print(
            f"{db}: there is no database here; only the shards are checked", markup=False
        )
    else:
        with open_table(db, table, wait=patience(for_engine=repair)) as opened:
            if repair and (removed := remove_deleted(opened.handle)):
                show.err.print(f"{counted(removed, 'deleted row')} removed from the files")
            readable = places if places and reports["shards"].is_good else []
            try:
                reports["table"] = opened.check(*readable, shards=numbers)
            except CliphouseError:
                if not json:
                    _draw_all(reports)  # what is known of the shards
                raise
    if json:
        print(to_json({n: asdict(r) for n, r in reports.items()}))
    else:
        _draw_all(reports)
    if not all(report.is_good for report in reports.values()):
        raise typer.Exit(1)


def _draw_all(reports: Mapping[str, CheckReport]) -> None:
    for name, report in reports.items():
        _draw(name, report)


def _draw(name: str, report: CheckReport) -> None:
    for finding in report.findings:
        line = show.plain(f"{finding.severity}: {finding.where}: {finding.what}")
        show.out.print(line, markup=False)
    verdict = "no errors" if report.is_good else "has errors"
    sample = f"; {counted(report.compared, 'row')} compared with the files" * bool(report.compared)
    show.out.print(
        f"{name}: {counted(report.shards, 'shard')}, {counted(report.rows, 'row')}, {verdict}"
        f"{sample}"
    )
