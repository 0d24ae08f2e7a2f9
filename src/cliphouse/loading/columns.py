"""Which columns of the metadata a table keeps, and whether shards fit those that it has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from cliphouse.engine.connection import Connection
from cliphouse.errors import ShardError, TableError
from cliphouse.schema.columns import COLUMNS, kept_column, metadata_fields
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import TableInfo, column_definition, write_info
from cliphouse.shards.fields import ROW_COLUMN, KeptColumn
from cliphouse.shards.kept import LeftOut, fits, kept_columns, may_repeat, widest
from cliphouse.shards.metadata import MetadataFile
from cliphouse.shards.numbering import format_shard_numbers
from cliphouse.shards.source import ShardSource, Source

# What a hit or a statement calls by these names is not a column's value.
_TAKEN = ("score", "distance", "folded", "missing", "values", "query", "to_dict")
_SAMPLE_ROWS = 10_000


@dataclass(frozen=True)
class Wanted:
    """The columns that the metadata of some shards has beyond COLUMNS: those that are kept, those
    that cannot be, and the names of those that nobody has asked for."""

    kept: tuple[KeptColumn, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    unwanted: tuple[str, ...] = ()


def wanted_columns(
    sources: Sequence[Source], chosen: Collection[str] | None, option: str = "--keep"
) -> Wanted:
    """What the shards' metadata has for a new table; ``chosen`` are names in the metadata, None for
    all. An error names the ``option`` that they were given by.

    Raises ShardError if no shard has a column of ``chosen``, or if one has different types in two.
    """
    found: dict[str, tuple[KeptColumn, MetadataFile]] = {}
    left_out: dict[str, LeftOut] = {}
    unwanted: dict[str, None] = {}
    for metadata in _files(sources):
        own = _own_names(metadata)
        names = [name for name in own if chosen is None or name in chosen]
        unwanted |= dict.fromkeys(name for name in own if name not in names)
        taken = [*_names(), *(column.name for column, _ in found.values())]
        known = [name for name in names if name in found]
        for name in known:
            found[name] = _agreed(*found[name], metadata)
        new = [name for name in names if name not in found]
        texts = [
            each.name for each in metadata.schema if each.name in new and may_repeat(each.type)
        ]
        sample = metadata.sample(texts, _SAMPLE_ROWS)
        kept, not_kept = kept_columns(metadata.schema, new, taken, sample)
        found |= {column.source: (column, metadata) for column in kept}
        left_out |= {each.name: each for each in not_kept}
    there = {*found, *left_out}
    for name in chosen or ():
        if name not in there:
            raise ShardError(f"{option} {name}: no metadata has such a column{_listed(sources)}")
    return Wanted(
        tuple(column for column, _ in found.values()),
        tuple(each for name, each in left_out.items() if name not in found),
        tuple(unwanted),
    )


def check_columns(info: TableInfo, sources: Sequence[Source]) -> list[str]:
    """What to say of the shards' columns, if the table has been made with ``info``: which of its
    columns they lack, which of theirs it does not keep, and which become one.

    Raises ShardError if a column is of another type than the table's.
    """
    lacking: dict[str, list[int]] = {}
    new: dict[str, None] = {}
    merged: dict[str, None] = {}
    for source in sources:
        if not isinstance(source, ShardSource):
            continue
        metadata = source.reader.metadata
        merged |= dict.fromkeys(_merged(metadata))
        for column in info.kept:
            if column.source not in metadata.names:
                lacking.setdefault(column.source, []).append(source.number)
            elif not fits(metadata.schema.field(column.source).type, column):
                raise ShardError(
                    f"{metadata.file.path}: column {column.source} is of type "
                    f"{metadata.schema.field(column.source).type}, and the table keeps it as "
                    f"{column.sql}; load these shards into another table with --table"
                )
        known = {column.source for column in info.kept}
        new |= dict.fromkeys(name for name in _own_names(metadata) if name not in known)
    return [*merged, *_notes(info, lacking, new)]


def _merged(metadata: MetadataFile) -> Iterator[str]:
    """What to say of the file's columns that become one column of the table."""
    for name, found in metadata.match(metadata_fields(COLUMNS)).items():
        if len(found.own) > 1:
            yield (
                f"{name}: the metadata has the columns {' and '.join(found.own)}; a row takes the "
                "first of them that is not null"
            )


def _notes(info: TableInfo, lacking: dict[str, list[int]], new: Iterable[str]) -> Iterator[str]:
    by_name = {column.source: column for column in info.kept}
    for name, numbers in lacking.items():
        shards = "shard" if len(numbers) == 1 else "shards"
        value = "an empty list" if by_name[name].is_list else "null"
        yield (
            f"{shards} {format_shard_numbers(sorted(numbers))}: no column {name}; the rows get "
            f"{value}"
        )
    unknown = [name for name in new if name not in info.left_out]
    if unknown:
        yield (
            f"not kept, since the table has no such column: {', '.join(unknown)}; "
            "--add-column NAME adds one"
        )


def add_columns(
    connection: Connection, table: TableHandle, sources: Sequence[Source], names: Sequence[str]
) -> TableInfo:
    """Add columns of the metadata to a table, and return its new description. Rows that were loaded
    before have null there.

    Raises ShardError if no shard has such a column or it cannot be kept, TableError if the table's
    comment is its owner's.
    """
    info = table.info
    asked = [name for name in names if name not in {column.source for column in info.kept}]
    if not asked:
        return info
    wanted = wanted_columns(sources, asked, "--add-column")
    if wanted.left_out:
        worst = wanted.left_out[0]
        raise ShardError(f"--add-column {worst.name}: cannot be kept ({worst.reason})")
    there = {name.lower(): sql for name, sql in table.columns.items()}
    for new in wanted.kept:
        # One of the same type was added by a run that was killed before it could keep it.
        if there.get(new.name.lower(), new.sql) != new.sql:
            raise TableError(f"table {table.name} has a column {new.name} already")
    left_out = tuple(name for name in info.left_out if name not in asked)
    widened = replace(info, kept=(*info.kept, *wanted.kept), left_out=left_out)
    placement = table.placement
    for kept in wanted.kept:
        column, add = kept_column(kept), f"{placement.on} ADD COLUMN IF NOT EXISTS"
        placement.run(
            connection, f"ALTER TABLE {placement.rows}{add} {column_definition(column, info)}"
        )
        if placement.cluster is not None:  # the Distributed table keeps nothing, and has no codecs
            bare = f"{column.quoted} {kept.sql}"
            placement.run(connection, f"ALTER TABLE {placement.whole}{add} {bare}")
    if not write_info(connection, placement, widened):
        raise TableError(
            f"table {table.name} has a comment of its own, where the added columns are to be kept"
        )
    return widened


def _files(sources: Sequence[Source]) -> Iterator[MetadataFile]:
    """The metadata of shards, which CSV files of the guide do not have."""
    for source in sources:
        if isinstance(source, ShardSource):
            yield source.reader.metadata


def _own_names(metadata: MetadataFile) -> list[str]:
    """The columns of a file that are not read as one of COLUMNS, nor as the ids of its rows."""
    matched = metadata.match(metadata_fields(COLUMNS)).values()
    read = {ROW_COLUMN, *(name for found in matched for name in found.names)}
    return [name for name in dict.fromkeys(metadata.names) if name not in read]


def _names() -> list[str]:
    return [*(column.name for column in COLUMNS), *_TAKEN]


def _agreed(
    column: KeptColumn, first: MetadataFile, metadata: MetadataFile
) -> tuple[KeptColumn, MetadataFile]:
    """The column as it holds the values of both files."""
    kind = metadata.schema.field(column.source).type
    wide = widest(column, kind)
    if wide is None:
        raise ShardError(
            f"{metadata.file.path}: column {column.source} is of type {kind}, in "
            f"{first.file.path} of type {first.schema.field(column.source).type}; load them into "
            "different tables, or leave the column out with --keep"
        )
    return wide, first


def _listed(sources: Sequence[Source]) -> str:
    there = dict.fromkeys(name for file in _files(sources) for name in _own_names(file))
    return f"; there are {', '.join(there)}" if there else ""
