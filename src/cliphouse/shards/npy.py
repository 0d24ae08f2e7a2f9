"""Embedding files: .npy of shape (rows, dim), float16 or float32, read in slices."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from cliphouse.errors import ShardError
from cliphouse.shards.files import DataFile

_HEADER_BYTES = 4096  # longer than any header of a two-dimensional array
_CHECK_BYTES = 16 * 2**20  # of rows that are checked at once
_NAMED_ROWS = 10
_LARGEST_DIM = 2**31 - 1  # what an Arrow list of a fixed size holds


@dataclass(frozen=True)
class NpyFile:
    """An embedding file with a checked header. ``data_offset`` is in bytes."""

    file: DataFile
    rows: int
    dim: int
    dtype: np.dtype[Any]
    data_offset: int

    @classmethod
    def open(cls, file: DataFile) -> NpyFile:
        """Read and check the header; the rows are not read.

        Raises ShardError if the file is not an npy file, has another dtype than float16 or
        float32, is not two-dimensional, is in Fortran order, or is shorter or longer than its
        header says.
        """
        try:
            with file.open() as stream:
                head = io.BytesIO(stream.read(_HEADER_BYTES))
            version = npy_format.read_magic(head)
            read_header = (
                npy_format.read_array_header_1_0
                if version == (1, 0)
                else npy_format.read_array_header_2_0
            )
            shape, fortran_order, dtype = read_header(head)
        except ShardError:
            raise
        # numpy parses a header as Python source, so a damaged one can raise any error of a parser.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ShardError(f"{file.path}: not a readable .npy file: {reason}") from error
        if dtype not in (np.dtype("<f2"), np.dtype("<f4")):
            raise ShardError(
                f"{file.path}: dtype {dtype.str}, but embeddings are float16 or float32 "
                "in little-endian order; convert it with numpy's astype"
            )
        is_whole = all(type(length) is int for length in shape)  # True is 1 to Python
        if len(shape) != 2 or not is_whole or shape[0] < 0 or shape[1] <= 0:
            raise ShardError(f"{file.path}: shape {shape}, but embeddings have shape (rows, dim)")
        if shape[1] > _LARGEST_DIM:
            raise ShardError(
                f"{file.path}: shape {shape}, but the dimension is at most {_LARGEST_DIM:,}"
            )
        if fortran_order:
            raise ShardError(
                f"{file.path}: stored in Fortran order; save it again as "
                "numpy.ascontiguousarray(embeddings)"
            )
        npy = cls(file, int(shape[0]), int(shape[1]), dtype, head.tell())
        expected = npy.data_offset + npy.rows * npy.row_bytes
        if file.size != expected:
            kind = "truncated" if file.size < expected else "longer than its header says"
            raise ShardError(
                f"{file.path}: {kind}: {file.size:,} bytes, but {npy.rows:,} rows of "
                f"{npy.dim} x {dtype.name} take {expected:,}; fetch or write it again"
            )
        return npy

    @property
    def row_bytes(self) -> int:
        return self.dim * self.dtype.itemsize

    def read(self, start: int, stop: int) -> NDArray[np.floating[Any]]:
        """Rows [start, stop) as stored, shape (stop - start, dim).

        Only this slice of a local file is mapped, so that pages read before are not counted as
        this process's memory.
        """
        offset, shape = self.data_offset + start * self.row_bytes, (stop - start, self.dim)
        if stop <= start:
            return np.empty(shape, self.dtype)
        try:
            if self.file.is_local:
                return np.memmap(self.file.path, self.dtype, mode="r", offset=offset, shape=shape)
            data = self.file.fs.cat_file(
                self.file.path, start=offset, end=offset + shape[0] * self.row_bytes
            )
        except OSError as error:
            raise ShardError(f"{self.file.path}: cannot be read: {error}") from error
        return np.frombuffer(data, self.dtype).reshape(shape)

    def check_values(self) -> None:
        """Check every row.

        Raises ShardError with the row numbers if rows hold NaN, infinity or only zeros: such a
        vector has no direction, and a search would silently never find it.
        """
        not_finite: list[int] = []
        zero: list[int] = []
        if self.dtype.itemsize == 2:
            bits_type, least, most = np.uint16, 1, 0x7C00
        else:  # the squares of numbers beyond these limits are out of the range of float32
            bits_type = np.uint32
            least, most = np.array([1e-15, 1e15], np.float32).view(np.uint32).tolist()
        step = max(1, _CHECK_BYTES // self.row_bytes)
        for start in range(0, self.rows, step):
            # The bit pattern of the largest magnitude shows both faults with integer arithmetic.
            bits = np.asarray(self.read(start, min(start + step, self.rows))).view(bits_type)
            largest = (bits & (np.iinfo(bits_type).max >> 1)).max(axis=1)
            not_finite += (start + np.flatnonzero(largest >= most)).tolist()
            zero += (start + np.flatnonzero(largest < least)).tolist()
        faults = [
            f"{_name_rows(rows)} {what}"
            for rows, what in (
                (not_finite, "NaN, infinity or beyond 1e15"),
                (zero, "only zeros or below 1e-15"),
            )
            if rows
        ]
        if faults:
            raise ShardError(
                f"{self.file.path}: {' and '.join(faults)}; "
                "take these rows out of all files of the shard, or embed them again"
            )


def _name_rows(rows: list[int]) -> str:
    named = ", ".join(str(row) for row in rows[:_NAMED_ROWS])
    more = f" and {len(rows) - _NAMED_ROWS} more" if len(rows) > _NAMED_ROWS else ""
    return f"row {named} holds" if len(rows) == 1 else f"rows {named}{more} hold"
