"""Checks of a table and its shards, which load nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cliphouse.engine.damage import DamagedPart, find_damage
from cliphouse.engine.quoting import quote
from cliphouse.errors import ShardError
from cliphouse.indexing.deleted import marked_as_deleted
from cliphouse.inspection.finding import AGAIN, Finding
from cliphouse.inspection.sample import compare_sample
from cliphouse.loading.lease import ActiveLoad, LoadStatus, read_load_status
from cliphouse.loading.ledger import Entry
from cliphouse.schema.columns import COLUMNS, embedding_column, metadata_fields
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.info import ledger_name
from cliphouse.shards.files import find_shards
from cliphouse.shards.npy import NpyFile
from cliphouse.shards.numbering import ID_BITS
from cliphouse.shards.reader import ShardReader
from cliphouse.shards.source import ShardSource, Source, find_sources
from cliphouse.wording import counted

_ROWS = 16_384
_NORM_TOLERANCE = 0.01


@dataclass(frozen=True)
class CheckReport:
    """How many shards and rows were checked, and what was found. ``compared`` is how many rows of
    the table were compared with the files that they were loaded from."""

    shards: int
    rows: int
    findings: tuple[Finding, ...]
    compared: int = 0

    @property
    def is_good(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


def check_shards(places: Sequence[str], numbers: Collection[int] | None = None) -> CheckReport:
    """Read every vector of the shards in ``places``, and every page of their metadata: alignment,
    dimensions, NaN, zeros, norms, damage.

    If some shards cannot be opened, each is opened by itself, so that a broken one does not hide
    the others.

    Raises ShardError if no shard can be found in ``places``.
    """
    findings: list[Finding] = []
    rows = 0
    sources = _open_each(places, numbers, findings)
    for source in sources:
        rows += source.rows
        if isinstance(source, ShardSource):
            findings += [*_check_metadata(source.reader), *_check_vectors(source.reader)]
    dims = {source.dim for source in sources}
    if len(dims) > 1:
        findings.append(Finding("error", "shards", f"dimensions differ: {sorted(dims)}"))
    present = [source.number for source in sources]
    between = range(min(present, default=0), max(present, default=0))
    if absent := sorted(set(between) - set(present)):
        listed = ", ".join(map(str, absent[:10])) + (" ..." if len(absent) > 10 else "")
        findings.append(Finding("note", "shards", f"missing numbers: {listed}"))
    return CheckReport(len(sources), rows, tuple(findings))


def check_table(table: TableHandle, sources: Sequence[Source] = ()) -> CheckReport:
    """Compare the table with its ledger, and with ``sources`` if they are given.

    Found are rows that are missing, doubled or unexpected, vectors of another length, of NaN or of
    zeros only, unfinished loads, and files that have changed or were never loaded. Of files that
    have not changed, some rows are compared with the table's (see compare_sample). In an embedded
    database, parts whose files are damaged are named, and their rows are left out.
    """
    damaged = _find_damage(table, table.name)
    damaged_ledger = _find_damage(table, ledger_name(table.name))
    findings = [
        Finding("error", one.table, f"part {one.part} is damaged ({one.reason}); {one.advice}")
        for one in (*damaged, *damaged_ledger)
    ]
    counts = _count_rows(table, damaged)
    rows = sum(count.rows for count in counts.values())
    if damaged_ledger:  # nobody knows what has been loaded
        return CheckReport(len(counts), rows, tuple(findings))
    loads = read_load_status(table)
    findings += _check_loads(counts, loads, bool(damaged))
    compared = 0
    for source in sources:
        entry = loads.entries.get(source.number)
        where = f"shard {source.number}"
        if entry is None:
            findings.append(Finding("error", where, "is not in the table; ingest it"))
        elif not entry.same_files(source.files):
            what = f"{source.files[0].path} has changed since it was loaded; {AGAIN}"
            findings.append(Finding("error", where, what))
        elif damaged and _ids(counts, source.number) < entry.rows:
            continue  # its other rows are not to be read
        elif isinstance(source, ShardSource):
            sample, different = compare_sample(table, source)
            compared += sample
            findings += different
    if not damaged and (deleted := marked_as_deleted(table)):
        what = (
            f"{counted(deleted, 'row')} {'is' if deleted == 1 else 'are'} marked as deleted, and a "
            "plain SQL search by the index would miss others for them; cliphouse check --repair "
            "removes them for good"
        )
        findings.append(Finding("note", table.name, what))
    return CheckReport(len(counts), rows, tuple(findings), compared)


def _find_damage(table: TableHandle, name: str) -> list[DamagedPart]:
    """The damaged parts of an embedded database's table. A server may keep others from checking it,
    and mends replicated tables by itself."""
    return find_damage(table.connection, name) if table.connection.is_embedded else []


def _check_loads(
    counts: Mapping[int, _Count], loads: LoadStatus, is_damaged: bool
) -> Iterator[Finding]:
    entries, loading = loads.entries, {load.shard: load for load in loads.loading}
    for number in sorted(counts.keys() | entries.keys()):
        entry, rows = entries.get(number), _ids(counts, number)
        if is_damaged and entry is not None and rows < entry.rows:
            what = f"{rows:,} of {counted(entry.rows, 'row')} are in parts without damage"
            yield Finding("error", f"shard {number}", what)
            continue
        yield from _check_shard(
            number, counts.get(number), entry, loading.get(number), number in loads.unfinished
        )


@dataclass(frozen=True)
class _Count:
    """Rows of one shard in the table, and how many of them are bad."""

    rows: int
    ids: int
    lengths: int
    directions: int


def _ids(counts: Mapping[int, _Count], shard: int) -> int:
    return counts[shard].ids if shard in counts else 0


def _count_rows(table: TableHandle, damaged: Sequence[DamagedPart]) -> dict[int, _Count]:
    left_out = ", ".join(quote(one.part) for one in damaged)
    sound = f"WHERE _part NOT IN ({left_out}) " if damaged else ""
    columns = [embedding_column(modality) for modality in table.info.modalities]
    lengths = " OR ".join(f"length({column}) != {table.info.dim}" for column in columns)
    norms = [f"L2Norm(CAST({column}, 'Array(Float32)'))" for column in columns]
    directions = " OR ".join(f"NOT isFinite({norm}) OR {norm} = 0" for norm in norms)
    found = table.connection.query(
        f"SELECT bitShiftRight(id, {ID_BITS}) AS shard, count() AS rows, uniqExact(id) AS ids, "
        f"countIf({lengths}) AS lengths, countIf({directions}) AS directions "
        f"FROM {table.sql} {sound}GROUP BY shard ORDER BY shard"
    )
    return {
        row["shard"]: _Count(row["rows"], row["ids"], row["lengths"], row["directions"])
        for row in found.to_pylist()
    }


def _check_shard(
    number: int,
    count: _Count | None,
    entry: Entry | None,
    loading: ActiveLoad | None,
    is_unfinished: bool,
) -> Iterator[Finding]:
    where = f"shard {number}"
    rows = count.ids if count else 0
    if entry is None:
        yield Finding("note", where, f"{counted(rows, 'row')} that the ledger does not know")
    else:
        yield from _check_load(where, rows, entry, loading, is_unfinished)
    if count:
        yield from _check_rows(where, count)


def _check_load(
    where: str, rows: int, entry: Entry, loading: ActiveLoad | None, is_unfinished: bool
) -> Iterator[Finding]:
    """Compare the number of rows in the table with the ledger's."""
    share = f"{rows:,} of {counted(entry.rows, 'row')}"
    if loading is not None:
        what = f"being loaded by {loading.host}, process {loading.process}, since {loading.since}"
        yield Finding("note", where, f"{what}; {share} loaded")
    elif is_unfinished:
        yield Finding("error", where, f"half loaded, {share}; ingest again")
    elif entry.state != "done":
        yield Finding("note", where, f"was being loaded; {share} loaded")
    elif rows != entry.rows:
        what = f"{counted(rows, 'row')}, but {entry.rows:,} were loaded"
        what += "; some were deleted" if rows < entry.rows else ""
        yield Finding("error", where, f"{what}; if that was not meant, {AGAIN}")


def _check_rows(where: str, count: _Count) -> Iterator[Finding]:
    """Name the rows that no search can use as they are."""
    if doubled := count.rows - count.ids:
        yield Finding("error", where, f"{counted(doubled, 'row')} with the id of another row")
    if count.lengths:
        yield Finding("error", where, f"{counted(count.lengths, 'vector')} of another dimension")
    if count.directions:
        unusable = counted(count.directions, "vector")
        yield Finding("error", where, f"{unusable} of NaN or only zeros")


def _open_each(
    places: Sequence[str], numbers: Collection[int] | None, findings: list[Finding]
) -> list[Source]:
    """All sources together or, if some cannot be opened, each by itself."""
    try:
        return find_sources(places, numbers)
    except ShardError as error:
        first = error
    sources: list[Source] = []
    for shard in find_shards([place for place in places if not place.endswith(".csv")], numbers):
        try:
            sources.append(ShardSource.open(shard))
        except ShardError as error:
            findings.append(
                Finding("error", f"shard {shard.number}", _without(shard.number, error))
            )
    if not findings:
        raise first
    return sources


def _without(shard: int, error: ShardError) -> str:
    """An error's message without the shard, which the finding names."""
    return str(error).removeprefix(f"shard {shard} ")


def _check_metadata(reader: ShardReader) -> Iterator[Finding]:
    where = f"shard {reader.shard.number}"
    try:
        reader.metadata.match(metadata_fields(COLUMNS))
    except ShardError as error:
        yield Finding("error", where, str(error))
    for damage in reader.metadata.damaged_columns():
        what = f"{reader.metadata.file.path}: {damage}; fetch or write it again"
        yield Finding("error", where, what)


def _check_vectors(reader: ShardReader) -> Iterator[Finding]:
    for npy in (reader.image, reader.text):
        if npy is None:
            continue
        try:
            npy.check_values()
        except ShardError as error:
            yield Finding("error", f"shard {reader.shard.number}", str(error))
            continue
        low, high = _norms(npy)
        if low < 1 - _NORM_TOLERANCE or high > 1 + _NORM_TOLERANCE:
            low_shown, high_shown = f"{low:.3f}", f"{high:.3f}"
            norms = low_shown if low_shown == high_shown else f"{low_shown} to {high_shown}"
            what = f"{npy.file.path}: norms {norms}, not 1; the cosine metric ignores norms"
            yield Finding("note", f"shard {reader.shard.number}", what)


def _norms(npy: NpyFile) -> tuple[float, float]:
    low, high = float("inf"), 0.0
    for start in range(0, npy.rows, _ROWS):
        rows = npy.read(start, min(start + _ROWS, npy.rows)).astype(np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        low, high = min(low, float(norms.min())), max(high, float(norms.max()))
    return low, high
