"""Writing a shard in clip-retrieval's layout, in one step.

The files grow as ``.part``. When all are complete, the metadata's is renamed to ``.ready``: from
then on the shard counts as written. Its files get their names one by one, metadata last. A kill
before that step leaves what was there before, and after it `finish_shards` finishes the work.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from cliphouse.errors import CliphouseError, ShardError
from cliphouse.shards.disk import disk_errors
from cliphouse.shards.files import READY


class ShardWriter:
    """Writes img_emb/img_emb_N.npy, text_emb/text_emb_N.npy and metadata/metadata_N.parquet.

    Rows are appended in batches; their metadata may come later than their embeddings. Embeddings
    are stored as float16, as in LAION, unless ``dtype`` is float32. When the block ends without an
    error and metadata was appended, be it without rows, the files take the place of those that the
    shard had. The methods raise DiskError or UserError if the files cannot be written.

    >>> with ShardWriter(folder, number=0, dim=512) as writer:
    ...     writer.append(image, text, metadata)
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        dim: int,
        with_text: bool = True,
        dtype: Literal["float16", "float32"] = "float16",
    ) -> None:
        self.rows = self._metadata_rows = 0
        self._folder = folder
        text_path = folder / "text_emb" / f"text_emb_{number}.npy"
        with disk_errors(folder):
            self._image = _NpyWriter(folder / "img_emb" / f"img_emb_{number}.npy", dim, dtype)
            self._text = _NpyWriter(text_path, dim, dtype) if with_text else None
            self._metadata_path = folder / "metadata" / f"metadata_{number}.parquet"
            self._metadata_path.parent.mkdir(parents=True, exist_ok=True)
        self._metadata: pq.ParquetWriter | None = None

    def append(self, image: NDArray[Any], text: NDArray[Any] | None, metadata: pa.Table) -> None:
        """Add rows: image and text of shape (n, dim), metadata with n rows.

        Raises ShardError if the three do not have the same number of rows.
        """
        if len(image) != metadata.num_rows:
            raise _unequal()
        self.append_embeddings(image, text)
        self.append_metadata(metadata)

    def append_embeddings(self, image: NDArray[Any], text: NDArray[Any] | None) -> None:
        """Add rows whose metadata is appended later. Raises ShardError as ``append`` does."""
        if (text is None) != (self._text is None) or (text is not None and len(text) != len(image)):
            raise _unequal()
        with disk_errors(self._folder):
            self._image.append(image)
            if self._text is not None and text is not None:
                self._text.append(text)
        self.rows += len(image)

    def append_metadata(self, metadata: pa.Table) -> None:
        """Add the metadata of rows. The first call decides the columns and their types."""
        part = _part(self._metadata_path)
        with disk_errors(self._folder):
            if self._metadata is None:
                self._metadata = pq.ParquetWriter(part, metadata.schema, write_page_checksum=True)
            self._metadata.write_table(metadata)
        self._metadata_rows += metadata.num_rows

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        embeddings = [writer for writer in (self._image, self._text) if writer is not None]
        paths = [writer.path for writer in embeddings]
        try:
            with disk_errors(self._folder):
                with ExitStack() as closing:
                    for writer in (*embeddings, self._metadata):
                        if writer is not None:
                            closing.callback(writer.close)
                if kind is None and self._metadata is not None and self.rows == self._metadata_rows:
                    for path in (*paths, self._metadata_path):
                        _make_durable(_part(path))
                    ready = _ready(self._metadata_path)
                    _part(self._metadata_path).replace(ready)
                    _finish(ready, paths)
                    return
        except CliphouseError:
            if kind is None:  # otherwise the error that came first is the one to show
                self._remove(paths)
                raise
        self._remove(paths)
        if kind is None and self.rows != self._metadata_rows:
            raise _unequal()

    def _remove(self, embeddings: Sequence[Path]) -> None:
        """Remove what is not complete."""
        if not _ready(self._metadata_path).exists():
            for path in (*embeddings, self._metadata_path):
                _part(path).unlink(missing_ok=True)


def finish_shards(folder: Path) -> None:
    """Finish the writing of shards in ``folder`` that was cut off when they were complete."""
    for ready in (folder / "metadata").glob("metadata_*.parquet.ready"):
        number = ready.name.removeprefix("metadata_").removesuffix(".parquet.ready")
        kinds = ("img_emb", "text_emb")
        _finish(ready, [folder / kind / f"{kind}_{number}.npy" for kind in kinds])


def _finish(ready: Path, embeddings: Sequence[Path]) -> None:
    """Give the files of a complete shard their names."""
    for path in embeddings:
        if _part(path).exists():
            _part(path).replace(path)
    ready.replace(ready.with_name(ready.name.removesuffix(READY)))


class _NpyWriter:
    """A .npy file whose header gets the number of rows at the end."""

    def __init__(self, path: Path, dim: int, dtype: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self.path, self._dim, self._rows = path, dim, 0
        self._stream: BinaryIO = _part(path).open("wb")
        self._stream.write(self._header())

    def append(self, rows: NDArray[Any]) -> None:
        if rows.ndim != 2 or rows.shape[1] != self._dim:
            raise ShardError(f"{self.path}: shape {rows.shape}, expected (rows, {self._dim})")
        self._stream.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self._rows += len(rows)

    def close(self) -> None:
        with self._stream:
            self._stream.seek(0)
            self._stream.write(self._header())

    def _header(self) -> bytes:
        # numpy pads the header, so a larger number of rows does not move the data.
        header = io.BytesIO()
        npy_format.write_array_header_1_0(
            header,
            {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, self._dim)},
        )
        return header.getvalue()


def _unequal() -> ShardError:
    return ShardError("a shard's image, text and metadata must have the same number of rows")


def _make_durable(path: Path) -> None:
    """Make sure that a power cut does not lose the file's bytes."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _ready(path: Path) -> Path:
    return path.with_name(path.name + READY)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
