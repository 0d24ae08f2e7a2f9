"""cliphouse info"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from cliphouse.cli import options, show
from cliphouse.cli.opening import open_table
from cliphouse.cli.recall import draw
from cliphouse.json_text import to_json
from cliphouse.schema.columns import GRANULE_ROWS
from cliphouse.wording import counted, moment

if TYPE_CHECKING:
    from cliphouse.inspection.summary import NodeSize, RootSize, TableSummary


def command(
    context: typer.Context,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    json: options.Json = False,
    server: options.Server = None,
    api_key: options.ApiKey = None,
) -> None:
    """Show what the table holds: rows, shards, disk, model, indexes and measured recall."""
    if server is not None:
        from cliphouse.client import Client

        with Client(server, api_key) as service:
            summary = service.info(options.given(context, "table", table))
    else:
        with open_table(db, table) as opened:
            summary = opened.summary()
    if json:
        print(to_json(asdict(summary)))
    else:
        _draw(summary)


def _draw_nodes(nodes: Sequence[NodeSize]) -> None:
    rows = [
        (node.name, node.shard, f"{node.rows:,}", show.size(node.disk_bytes), "")
        if node.is_reachable
        else (node.name, node.shard, "", "", "unreachable: its rows are not counted")
        for node in nodes
    ]
    show.table(("node", "shard", "rows", "disk", ""), rows, right="lrrr")


def _draw_roots(roots: Sequence[RootSize]) -> None:
    rows = [
        (root.name, f"{root.rows:,}", root.place, "" if root.is_there else "not there")
        for root in roots
    ]
    show.table(("root", "rows", "folder", ""), rows, right="lr")


def _engine(summary: TableSummary) -> list[tuple[str, str]]:
    """The engine's version, what it lacks, and the settings that this user may not change."""
    facts = [("engine", f"ClickHouse {summary.engine}")] if summary.engine else []
    if summary.lacking:
        facts.append(("engine lacks", "; ".join(summary.lacking)))
    if summary.forbidden:
        facts.append(("fixed settings", ", ".join(summary.forbidden)))
    return facts


def _loaded(summary: TableSummary) -> str:
    """When the shards were loaded, to the minute: one time, or the first and the last."""
    if not (summary.first_load and summary.last_load):
        return ""
    first, last = moment(summary.first_load), moment(summary.last_load)
    return f", loaded {first}" if first == last else f", loaded from {first} to {last}"


def _granule(rows: int) -> str:
    """The rows that the engine reads together, and what to do if they are more than today."""
    if rows <= GRANULE_ROWS:
        return f"{rows:,} rows"
    return f"{rows:,} rows; a table loaded anew has {GRANULE_ROWS}, and is searched faster"


def _draw(summary: TableSummary) -> None:
    facts = [
        ("database", summary.database),
        *_engine(summary),
        ("table", summary.table),
        ("rows", f"{summary.rows:,} in {counted(summary.parts, 'part')}"),
        ("shards", f"{summary.shards:,}{_loaded(summary)}"),
        ("model", summary.model or "unknown"),
        (
            "embeddings",
            f"{' and '.join(summary.modalities)}, {summary.dim} dimensions, {summary.precision}",
        ),
        ("disk", show.size(summary.disk_bytes)),
    ]
    if summary.granule:
        facts.append(("granules", _granule(summary.granule)))
    if summary.caption_index_bytes:
        facts.append(("indexes of captions", show.size(summary.caption_index_bytes)))
    facts += [("loading", load.describe()) for load in summary.loading]
    if summary.unfinished:
        numbers = ", ".join(map(str, summary.unfinished))
        facts.append(("unfinished", f"shards {numbers}: run the same ingest again"))
    if summary.cluster is not None:
        facts.append(("cluster", f"{summary.cluster}, {counted(len(summary.nodes), 'node')}"))
    show.facts(facts)
    if summary.nodes:
        _draw_nodes(summary.nodes)
    if summary.roots:
        _draw_roots(summary.roots)
    columns = [(c.name, c.type, show.size(c.disk_bytes)) for c in summary.columns]
    show.table(("column", "type", "disk"), columns, right="llr")
    if summary.indexes:
        rows = [(i.name, i.type, show.size(i.memory_bytes)) for i in summary.indexes]
        show.table(("index", "type", "memory"), rows, right="llr")
    for modality in summary.modalities:
        measured = [entry for entry in summary.measured if entry.modality == modality]
        if measured:
            show.out.print(f"measured recall, {modality} embeddings:")
            draw(measured)
