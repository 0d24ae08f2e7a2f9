"""cliphouse ingest"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.cli.opening import open_table
from cliphouse.json_text import to_json
from cliphouse.shards.numbering import parse_shard_numbers
from cliphouse.wording import counted

if TYPE_CHECKING:
    from cliphouse.loading.lease import ActiveLoad
    from cliphouse.loading.load import ShardLoad

_SHOWN = 5


def _remark(load: ShardLoad) -> str:
    if load.gone:
        gone = f"{counted(load.gone, 'row')} deleted after loading"
        return f"{gone}; --replace loads the shard again"
    if load.by_others:
        return "loaded by another worker"
    if load.updated:
        return f"updated: {counted(load.removed, 'old row')} removed"
    return "replaced" if load.replaced else ""


def _report_wait(loads: Sequence[ActiveLoad]) -> None:
    shown = [load.describe() for load in loads[:_SHOWN]]
    more = [f"and {len(loads) - _SHOWN} more"] if len(loads) > _SHOWN else []
    show.err.print(f"waiting for {'; '.join(shown + more)}", markup=False)


def _kept(text: str) -> tuple[str, ...] | None:
    if text in ("all", "none"):
        return None if text == "all" else ()
    return tuple(name.strip() for name in text.split(",") if name.strip())


def command(
    context: typer.Context,
    places: Annotated[
        list[str],
        typer.Argument(
            help="Folders of shards (paths or URLs), or the guide's CSV files.", metavar="DIR..."
        ),
    ],
    shards: Annotated[
        str, typer.Option(help="Only these shards, for example 0-9,12,400-409, or all.")
    ] = "all",
    precision: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(
            help="The precision of a new table: float32 (the default) or bfloat16, half the disk."
        ),
    ] = None,
    codes: Annotated[
        Literal["none", "rabitq", "turboquant"] | None,
        typer.Option(help="The codes that a new table keeps beside its vectors, for mode codes."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the rows of shards whose files have changed.")
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(help="Create the table on every node of this cluster of the server."),
    ] = None,
    keep: Annotated[
        str,
        typer.Option(
            help="The columns of the metadata that a new table keeps beside LAION's: all, none, or "
            "names, as in aesthetic,punsafe,language."
        ),
    ] = "all",
    add_column: Annotated[
        list[str] | None,
        typer.Option(help="Add a column of the metadata to a table that does not have it."),
    ] = None,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    model: options.Model = None,
    json: options.Json = False,
) -> None:
    """Load shards into the table. Rows that are there already stay as they are.

    Several machines may load the same shards into one server: each loads the shards that no other
    machine has, and takes over the shards of machines that died.
    """
    from cliphouse.loading.options import LOAD_SETTINGS

    # SIGTERM from a scheduler ends the load as Ctrl-C does: it releases the claimed shards, so that
    # other machines can load them immediately.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    interrupt.keep("the rows that were loaded are kept; run the same command again to continue")
    numbers = parse_shard_numbers(shards)
    with (
        open_table(db, table, model) as opened,
        show.progress("ingest") as advance,
    ):
        report = opened.ingest(
            *places,
            shards=numbers,
            precision=precision,
            replace=replace,
            progress=advance,
            codes=codes,
            waiting=_report_wait,
            cluster=cluster,
            settings=context.obj or LOAD_SETTINGS,
            keep=_kept(keep),
            add_columns=add_column or (),
        )
    for note in report.notes:
        show.err.print(note, markup=False)
    if json:
        print(to_json(asdict(report)))
        return
    rows = [
        (load.shard, f"{load.rows:,}", f"{load.inserted:,}", _remark(load)) for load in report.loads
    ]
    show.table(("shard", "rows", "inserted", ""), rows, right="rrr")
    rate = report.inserted / max(report.seconds, 1e-9)
    model_name = report.model or "unknown (to search by words, name it with --model)"
    show.out.print(
        f"{report.inserted:,} of {counted(report.rows, 'row')} inserted in "
        f"{show.seconds(report.seconds)}"
        f"{f', {rate:,.0f} rows/s' if report.inserted > 1 else ''}; model {model_name}"
    )
    if report.by_others:
        show.out.print(
            f"{counted(report.by_others, 'row')} loaded by other workers in the meantime"
        )
