"""Keeping a table in step with a folder of pictures.

First the shards are made what the folder is (cliphouse.pictures.embed), then the table is made what
the shards are (cliphouse.loading.ingest). Each of the two goes on where a killed run has stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cliphouse.engine.address import Address, FolderAddress
from cliphouse.engine.database import Database
from cliphouse.errors import UserError
from cliphouse.loading.ingest import IngestReport, ingest
from cliphouse.loading.options import IngestOptions
from cliphouse.models import Encoder
from cliphouse.pictures.embed import (
    EMBED_OPTIONS,
    EmbedOptions,
    EmbedReport,
    embed_folder,
    follow_folder,
)
from cliphouse.schema.handle import TableHandle, find_table
from cliphouse.schema.info import TableInfo, rows_by_shard
from cliphouse.shards.one_writer import one_writer
from cliphouse.vocabulary import Progress

_LOAD = IngestOptions(replace=True)

EncoderFor = Callable[[str, TableInfo | None], Encoder]


@dataclass(frozen=True)
class SyncOptions:
    """What a caller of sync chooses. ``shards`` is the folder for the shards, by default one beside
    an embedded database. ``load`` is for a table that is made."""

    shards: Path | None = None
    embed: EmbedOptions = EMBED_OPTIONS
    load: IngestOptions = _LOAD


@dataclass(frozen=True)
class SyncReport:
    """What was done to the ``shards``, and then to the table: None if there was nothing to load, or
    nothing was to be done."""

    shards: Path
    pictures: EmbedReport
    rows: IngestReport | None = None


def shards_folder(address: Address, table: str, chosen: Path | None = None) -> Path:
    """The folder for the shards of a table: ``chosen``, or DATABASE.shards/TABLE beside an embedded
    database. Raises UserError for a server without a choice."""
    if chosen is not None:
        return chosen
    if isinstance(address, FolderAddress):
        return address.folder.with_name(f"{address.folder.name}.shards") / table
    raise UserError(f"{address.shown}: give a folder for the shards of the pictures with --to")


def sync_folder(
    database: Database,
    name: str,
    folder: Path,
    encoder_for: EncoderFor,
    options: SyncOptions,
    progress: Progress | None = None,
) -> SyncReport:
    """Make the shards what ``folder`` is, and then the table called ``name`` what they are.
    ``encoder_for`` gives the encoder of that table, of which it is told the name and, if it has
    been made, the description.

    Raises what `embed_folder` and `ingest` raise.
    """
    shards, embed = shards_folder(database.address, name, options.shards), options.embed

    def open_table() -> TableHandle | None:
        return find_table(database.connection, name) if database.exists else None

    def encoder(table: TableHandle | None) -> Encoder:
        return encoder_for(name, table.info if table is not None else None)

    if embed.dry_run:
        preview = embed_folder(folder, shards, encoder(open_table()), progress, embed)
        return SyncReport(shards, preview)
    # Before the database is opened, which another run may have open as long as it has the shards.
    with one_writer(shards, "sync", wait=embed.wait, on_wait=embed.on_wait):
        table = open_table()
        # The table may have rows of other shards, whose numbers are taken.
        taken = rows_by_shard(table.connection, name) if table is not None else {}
        first = max(taken, default=-1) + 1
        pictures = follow_folder(folder, shards, encoder(table), progress, embed, first)
        if not any((shards / "metadata").glob("metadata_*.parquet")):
            return SyncReport(shards, pictures)
        rows = ingest(
            lambda: database.create_for(options.load.precision, options.load.codes),
            name,
            [str(shards)],
            options.load,
        )
        return SyncReport(shards, pictures, rows)
