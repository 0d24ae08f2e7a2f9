"""Looking a table and its shards over without loading anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cliphouse.errors import ShardError
from cliphouse.loading.lease import Holding, read_loads
from cliphouse.loading.ledger import Entry, Ledger
from cliphouse.schema.columns import COLUMNS, embedding_column, metadata_fields
from cliphouse.schema.handle import TableHandle
from cliphouse.shards import ShardReader, find_shards
from cliphouse.shards.npy import NpyFile
from cliphouse.shards.reader import ID_BITS
from cliphouse.shards.source import ShardSource, Source, find_sources

_ROWS = 16_384
_NORM_TOLERANCE = 0.01


@dataclass(frozen=True)
class Finding:
    """Something found: ``error`` is wrong, ``note`` worth knowing. ``where`` is a file or shard."""

    severity: Literal["error", "note"]
    where: str
    what: str


@dataclass(frozen=True)
class CheckReport:
    """What was looked at, in shards and rows, and what was found."""

    shards: int
    rows: int
    findings: tuple[Finding, ...]

    @property
    def is_good(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


def check_shards(places: Sequence[str], numbers: Collection[int] | None = None) -> CheckReport:
    """Read every vector of the shards in ``places``: alignment, dimensions, NaN, zeros, norms.

    Each shard is opened by itself, so that one broken shard does not hide the others. Raises
    ShardError only where the folder as a whole cannot be understood.
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
        findings.append(Finding("note", "shards", f"numbers not there: {listed}"))
    return CheckReport(len(sources), rows, tuple(findings))


def check_table(table: TableHandle, sources: Sequence[Source] = ()) -> CheckReport:
    """Compare the table with its ledger, and with ``sources`` where they are given: rows missing,
    doubled or unexpected, vectors of another length, NaN or only zeros, unfinished loads, changed
    or unloaded files."""
    counted = _count_rows(table)
    loads = read_loads(table.connection, Ledger(table.connection, table.placement))
    entries, loading = loads.entries, {held.shard: held for held in loads.loading}
    findings = [
        finding
        for number in sorted(counted.keys() | entries.keys())
        for finding in _check_shard(
            number,
            counted.get(number),
            entries.get(number),
            loading.get(number),
            number in loads.unfinished,
        )
    ]
    for source in sources:
        entry = entries.get(source.number)
        where = f"shard {source.number}"
        if entry is None:
            findings.append(Finding("error", where, "is not in the table; ingest it"))
        elif not entry.same_files(source.files):
            what = f"{source.files[0].path} has changed since it was loaded; ingest --replace"
            findings.append(Finding("error", where, what))
    rows = sum(count.rows for count in counted.values())
    return CheckReport(len(counted), rows, tuple(findings))


@dataclass(frozen=True)
class _Count:
    """Rows of one shard in the table, and how many of them are bad."""

    rows: int
    ids: int
    lengths: int
    directions: int


def _count_rows(table: TableHandle) -> dict[int, _Count]:
    columns = [embedding_column(modality) for modality in table.info.modalities]
    lengths = " OR ".join(f"length({column}) != {table.info.dim}" for column in columns)
    norms = [f"L2Norm(CAST({column}, 'Array(Float32)'))" for column in columns]
    directions = " OR ".join(f"NOT isFinite({norm}) OR {norm} = 0" for norm in norms)
    found = table.connection.query(
        f"SELECT bitShiftRight(id, {ID_BITS}) AS shard, count() AS rows, uniqExact(id) AS ids, "
        f"countIf({lengths}) AS lengths, countIf({directions}) AS directions "
        f"FROM {table.sql} GROUP BY shard ORDER BY shard"
    )
    return {
        row["shard"]: _Count(row["rows"], row["ids"], row["lengths"], row["directions"])
        for row in found.to_pylist()
    }


def _check_shard(
    number: int,
    count: _Count | None,
    entry: Entry | None,
    loading: Holding | None,
    is_unfinished: bool,
) -> Iterator[Finding]:
    where = f"shard {number}"
    rows = count.ids if count else 0
    if entry is None:
        yield Finding("note", where, f"{rows:,} rows that the ledger does not know")
    elif loading is not None:
        what = f"being loaded by {loading.host}, process {loading.process}, since {loading.since}"
        yield Finding("note", where, f"{what}; {rows:,} of {entry.rows:,} rows are there")
    elif is_unfinished:
        yield Finding("error", where, f"half loaded, {rows:,} of {entry.rows:,} rows; ingest again")
    elif entry.state != "done":
        yield Finding(
            "note", where, f"was being loaded; {rows:,} of {entry.rows:,} rows were there"
        )
    elif rows != entry.rows:
        what = f"{rows:,} rows where {entry.rows:,} were loaded; deleted, or ingest --replace"
        yield Finding("error", where, what)
    if count and count.rows != count.ids:
        yield Finding("error", where, f"{count.rows - count.ids:,} rows are there more than once")
    if count and count.lengths:
        yield Finding("error", where, f"{count.lengths:,} vectors of another dimension")
    if count and count.directions:
        yield Finding("error", where, f"{count.directions:,} vectors of NaN or only zeros")


def _open_each(
    places: Sequence[str], numbers: Collection[int] | None, findings: list[Finding]
) -> list[Source]:
    """All sources at once, or, where some cannot be opened, each by itself."""
    try:
        return find_sources(places, numbers)
    except ShardError as error:
        first = error
    sources: list[Source] = []
    for shard in find_shards([place for place in places if not place.endswith(".csv")], numbers):
        try:
            sources.append(ShardSource.open(shard))
        except ShardError as error:
            findings.append(Finding("error", f"shard {shard.number}", str(error)))
    if not findings:
        raise first
    return sources


def _check_metadata(reader: ShardReader) -> Iterator[Finding]:
    try:
        reader.metadata.match(metadata_fields(COLUMNS))
    except ShardError as error:
        yield Finding("error", f"shard {reader.shard.number}", str(error))


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
            what = f"{npy.file.path}: norms {low:.3f} to {high:.3f}, not 1; cosine does not mind"
            yield Finding("note", f"shard {reader.shard.number}", what)


def _norms(npy: NpyFile) -> tuple[float, float]:
    low, high = float("inf"), 0.0
    for start in range(0, npy.rows, _ROWS):
        rows = npy.read(start, min(start + _ROWS, npy.rows)).astype(np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        low, high = min(low, float(norms.min())), max(high, float(norms.max()))
    return low, high
