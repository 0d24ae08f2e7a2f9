"""Keeping a table in step with a folder of pictures, which is one of its roots.

First the shards are made what the folder is (cliphouse.pictures.embed), then the table is made what
the shards are (cliphouse.loading.ingest). Each of the two goes on where a killed run has stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cliphouse.engine.address import Address, FolderAddress
from cliphouse.engine.database import Database
from cliphouse.errors import PictureError, UserError
from cliphouse.loading.ingest import IngestReport
from cliphouse.loading.options import IngestOptions
from cliphouse.loading.roots import check_may_keep
from cliphouse.models import Encoder
from cliphouse.pictures.embed import (
    EMBED_OPTIONS,
    EmbedOptions,
    EmbedReport,
    follow_folder,
)
from cliphouse.pictures.roots import RootWish, root_called
from cliphouse.schema.handle import find_table
from cliphouse.schema.index_spec import Extension
from cliphouse.schema.info import TableInfo, rows_by_shard
from cliphouse.shards.manifest import read_manifest
from cliphouse.shards.one_writer import one_writer
from cliphouse.shards.roots import Root, joined
from cliphouse.vocabulary import Progress

_LOAD = IngestOptions(replace=True)

EncoderFor = Callable[[str, TableInfo | None], Encoder]
Load = Callable[[list[str], IngestOptions], IngestReport]


@dataclass(frozen=True)
class SyncOptions:
    """What a caller of sync chooses. ``shards`` is the folder for the shards, by default one beside
    an embedded database. ``root`` is the name of the root that the folder becomes, or that has
    moved there; by default the folder's own. ``load`` is for a table that is made."""

    shards: Path | None = None
    root: str | None = None
    embed: EmbedOptions = EMBED_OPTIONS
    load: IngestOptions = _LOAD


@dataclass(frozen=True)
class SyncReport:
    """What was done to the ``shards`` of the pictures in ``folder``, and then to the table: None if
    there was nothing to load, or nothing was to be done. ``extended`` says what became of the
    table's indexes, if anything."""

    folder: Path
    shards: Path
    pictures: EmbedReport
    rows: IngestReport | None = None
    extended: Extension | None = None


@dataclass(frozen=True)
class RootSync:
    """What became of one of several roots: its ``report``, or the ``problem`` for which its rows
    were left as they are. ``is_away`` says that its folder is not there."""

    root: Root
    report: SyncReport | None = None
    problem: str | None = None
    is_away: bool = False


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
    folder: Path | None,
    encoder_for: EncoderFor,
    load: Load,
    options: SyncOptions,
    progress: Progress | None = None,
) -> SyncReport:
    """Make the shards what ``folder`` is, and then the table called ``name`` what they are; without
    a folder, that of the root ``options.root``. ``encoder_for`` gives the encoder of that table, of
    which it is told the name and, if it has been made, the description. ``load`` loads shards into
    it.

    Raises what `embed_folder` and `ingest` raise, and UserError if there is no such root.
    """
    shards = shards_folder(database.address, name, options.shards)
    embed, chosen = options.embed, replace(options.load, move_roots=True)

    def follow() -> tuple[Path, EmbedReport]:
        table = find_table(database.connection, name) if database.exists else None
        wish = RootWish(options.root, table.info.roots if table is not None else ())
        place = _folder(folder, wish, shards)
        encoder = encoder_for(name, table.info if table is not None else None)
        first = 0
        if table is not None and not embed.dry_run:
            check_may_keep(table)
            # The table may have rows of other shards, whose numbers are taken.
            first = max(rows_by_shard(table.connection, name), default=-1) + 1
        return place, follow_folder(place, shards, encoder, progress, embed, first, wish)

    if embed.dry_run:
        place, preview = follow()
        return SyncReport(place, shards, preview)
    # Before the database is opened, which another run may have open as long as it has the shards.
    with one_writer(shards, "sync", wait=embed.wait, on_wait=embed.on_wait):
        place, pictures = follow()
        if not any((shards / "metadata").glob("metadata_*.parquet")):
            return SyncReport(place, shards, pictures)
        rows = load([str(shards)], chosen)
        return SyncReport(place, shards, pictures, rows)


def sync_roots(
    database: Database, name: str, sync: Callable[[str], SyncReport], chosen: Path | None = None
) -> Iterator[RootSync]:
    """Have each root of the table called ``name``, in the order of their names, synced by ``sync``.
    One whose folder is not there, and one that is refused, leaves the others alone.

    Raises UserError if there is no root, PictureError if no folder of one is there.
    """
    shards = shards_folder(database.address, name, chosen)
    table = find_table(database.connection, name) if database.exists else None
    own = _roots_of(shards)
    roots = joined(table.info.roots if table is not None else (), own)
    if not roots:
        raise UserError(
            f"nothing to sync: table {name} has no folder of pictures yet; give one, as in: "
            "cliphouse sync ~/Pictures"
        )
    if not any(root.is_there for root in roots):
        places = ", ".join(root.place for root in roots)
        raise PictureError(
            f"{places}: not there, or empty; the rows stay as they are. If a folder has moved, "
            f"tell with --root, as in: --root {roots[0].name}=DIR"
        )
    here = {root.name for root in own}
    for root in sorted(roots, key=lambda each: each.name):
        if root.name not in here:
            problem = "its pictures are in other shards; give their folder with --to"
            yield RootSync(root, problem=problem)
        elif not root.is_there:
            problem = (
                "not there, or empty; its rows stay as they are. If it has moved, tell with "
                f"--root {root.name}=DIR"
            )
            yield RootSync(root, problem=problem, is_away=True)
        else:
            try:
                yield RootSync(root, sync(root.name))
            except PictureError as error:
                yield RootSync(root, problem=str(error))


def _roots_of(shards: Path) -> tuple[Root, ...]:
    manifest = read_manifest(str(shards))
    return manifest.roots if manifest is not None else ()


def _folder(given: Path | None, wish: RootWish, shards: Path) -> Path:
    """The folder to sync. Raises UserError if only a root is named, and there is no such one."""
    if given is not None:
        return given
    if wish.name is None:
        raise UserError("nothing to sync: give a folder, or a root of the table with --root")
    return Path(root_called(wish.name, joined(wish.known, _roots_of(shards))).place)
