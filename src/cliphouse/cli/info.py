"""cliphouse info"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import typer

import cliphouse
from cliphouse.cli import options, show
from cliphouse.cli.recall import draw
from cliphouse.client import Client
from cliphouse.inspection.summary import NodeSize, TableSummary
from cliphouse.json_text import to_json

NAME = "info"


def command(
    context: typer.Context,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    json: options.Json = False,
    server: options.Server = None,
    api_key: options.ApiKey = None,
) -> None:
    """What the table holds: rows, shards, disk, model, indexes and measured recall."""
    if server is not None:
        with Client(server, api_key) as service:
            summary = service.info(options.given(context, "table", table))
    else:
        with cliphouse.open(db, table) as opened:
            summary = opened.summary()
    if json:
        print(to_json(asdict(summary)))
    else:
        _draw(summary)


def _draw_nodes(nodes: Sequence[NodeSize]) -> None:
    rows = [
        (node.name, node.shard, f"{node.rows:,}", show.size(node.disk_bytes), "")
        if node.is_reachable
        else (node.name, node.shard, "", "", "cannot be reached: its rows are not counted")
        for node in nodes
    ]
    show.out.print(show.table(("node", "shard", "rows", "disk", ""), rows, right="lrrr"))


def _engine(summary: TableSummary) -> list[tuple[str, str]]:
    """What the engine is, and what searches there must do without."""
    facts = [("engine", f"ClickHouse {summary.engine}")] if summary.engine else []
    if summary.lacking:
        facts.append(("without", "; ".join(summary.lacking)))
    if summary.forbidden:
        facts.append(("may not set", ", ".join(summary.forbidden)))
    return facts


def _draw(summary: TableSummary) -> None:
    loads = ""
    if summary.first_load and summary.last_load:
        loads = (
            f", loaded {summary.first_load:%Y-%m-%d %H:%M} to {summary.last_load:%Y-%m-%d %H:%M}"
        )
    facts = [
        ("database", summary.database),
        *_engine(summary),
        ("table", summary.table),
        ("rows", f"{summary.rows:,} in {summary.parts} parts"),
        ("shards", f"{summary.shards:,}{loads}"),
        ("model", summary.model or "unknown"),
        (
            "embeddings",
            f"{' and '.join(summary.modalities)}, {summary.dim} dimensions, {summary.precision}",
        ),
        ("disk", show.size(summary.disk_bytes)),
    ]
    facts += [("loading", holding.describe()) for holding in summary.loading]
    if summary.unfinished:
        numbers = ", ".join(map(str, summary.unfinished))
        facts.append(("unfinished", f"shards {numbers}: run the same ingest again"))
    if summary.cluster is not None:
        facts.append(("cluster", f"{summary.cluster}, {len(summary.nodes)} nodes"))
    show.out.print(show.table(("", ""), facts))
    if summary.nodes:
        _draw_nodes(summary.nodes)
    columns = [(c.name, c.type, show.size(c.disk_bytes)) for c in summary.columns]
    show.out.print(show.table(("column", "type", "disk"), columns, right="llr"))
    if summary.indexes:
        rows = [(i.name, i.type, show.size(i.memory_bytes)) for i in summary.indexes]
        show.out.print(show.table(("index", "type", "memory"), rows, right="llr"))
    for modality in summary.modalities:
        measured = [entry for entry in summary.measured if entry.modality == modality]
        if measured:
            show.out.print(f"searching {modality} embeddings:")
            draw(measured)
