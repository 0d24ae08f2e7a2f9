"""The CSV files of the ClickHouse guide: N.csv for each shard.

They have seven columns and no header: a row number, url, caption, NSFW, similarity, image embedding
and text embedding. An embedding is a list of numbers in brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from cliphouse.errors import ShardError
from cliphouse.shards.fields import CSV_COLUMNS, CSV_METADATA
from cliphouse.shards.files import DataFile, Shard, entry_version, find_shards, open_fs
from cliphouse.shards.numbering import MAX_SHARD
from cliphouse.shards.writer import ShardWriter

_BLOCK = 16 * 2**20
_TYPES = {name: pa.binary() for name in ("row", *CSV_COLUMNS)} | {"similarity": pa.float32()}


@dataclass(frozen=True)
class GuideCsv:
    """One CSV file of the guide. ``rows`` is estimated from the size of the file."""

    file: DataFile
    number: int
    dim: int
    rows: int

    @classmethod
    def open(cls, path: str) -> GuideCsv:
        """Read the first rows of a local file or fsspec URL.

        Raises ShardError if it is not a file of the guide, or its name is not a shard's number.
        """
        fs, inner = open_fs(path)
        match = re.fullmatch(r"(\d{1,7})\.csv", inner.rsplit("/", 1)[-1])
        if match is None or int(match[1]) >= MAX_SHARD:
            raise ShardError(f"{path}: name the file after its shard, as in 12.csv")
        try:
            details = fs.info(inner)
        except OSError as error:
            raise ShardError(f"{path}: no such file") from error
        size = int(details["size"])
        file = DataFile(fs, inner, size, entry_version(details))
        first = next(_batches(file), None)
        if first is None or first.num_rows == 0:
            raise ShardError(f"{path}: no rows")
        vectors = _vectors(file, first.column("image_embedding").slice(0, 1), 0)
        estimate = size * first.num_rows // min(size, _BLOCK)
        return cls(file, int(match[1]), vectors.shape[1], max(estimate, 1))

    def convert(self, folder: Path) -> Shard:
        """Write the rows as a shard in ``folder``, in float32, which keeps every digit.

        Raises ShardError that names the row if an embedding cannot be read.
        """
        done = 0
        with ShardWriter(folder, self.number, self.dim, dtype="float32") as writer:
            for batch in _batches(self.file):
                image = _vectors(self.file, batch.column("image_embedding"), done, self.dim)
                text = _vectors(self.file, batch.column("text_embedding"), done, self.dim)
                writer.append(image, text, batch.select(CSV_METADATA))
                done += batch.num_rows
        return find_shards([str(folder)], {self.number})[0]


def _batches(file: DataFile) -> Iterator[pa.Table]:
    try:
        with file.open() as stream:
            reader = pa_csv.open_csv(
                stream,
                pa_csv.ReadOptions(column_names=["row", *CSV_COLUMNS], block_size=_BLOCK),
                pa_csv.ParseOptions(newlines_in_values=True),
                pa_csv.ConvertOptions(column_types=_TYPES, strings_can_be_null=False),
            )
            for batch in reader:
                yield pa.Table.from_batches([batch])
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:200]
        raise ShardError(f"{file.path}: not the guide's CSV (seven columns): {reason}") from error


def _vectors(
    file: DataFile, texts: pa.ChunkedArray, first_row: int, dim: int | None = None
) -> NDArray[np.float32]:
    """Parse lists of numbers in brackets; float32 of shape (rows, dim)."""
    try:
        plain = texts.combine_chunks().cast(pa.string())
    except pa.ArrowException as error:
        raise ShardError(f"{file.path}: rows from {first_row} on: {error}") from error
    is_list = pc.match_substring_regex(plain, r"^\s*\[.*\]\s*$").to_numpy(zero_copy_only=False)
    if not is_list.all():
        row = first_row + int(np.flatnonzero(~is_list)[0])
        raise ShardError(
            f"{file.path}: row {row}: an embedding is not a list of numbers in brackets"
        )
    if pc.any(pc.match_substring(plain, "np.")).as_py():  # numpy 2 prints list(array) like this
        plain = pc.replace_substring_regex(plain, r"np\.\w+\(([^)]*)\)", r"\1")
    parts = pc.split_pattern(pc.utf8_trim(plain, "[] \t"), ",")
    lengths = pc.list_value_length(parts).to_numpy(zero_copy_only=False)
    dim = int(lengths[0]) if dim is None else dim
    if (lengths != dim).any():
        row = first_row + int(np.flatnonzero(lengths != dim)[0])
        raise ShardError(f"{file.path}: row {row} has an embedding of another length than {dim}")
    try:
        values = pc.utf8_trim_whitespace(parts.flatten()).cast(pa.float32())
    except pa.ArrowException as error:
        raise ShardError(
            f"{file.path}: rows from {first_row} on: an embedding is not a list of numbers: {error}"
        ) from error
    vectors: NDArray[np.float32] = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
    return vectors
