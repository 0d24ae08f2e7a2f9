"""Batches that are embedded, but in no shard yet: what a killed run need not do again."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from cliphouse.pictures.encode import Rows
from cliphouse.pictures.find import Picture
from cliphouse.pictures.known import SCHEMA
from cliphouse.pictures.read_file import with_own_caption
from cliphouse.shards.disk import disk_errors

_IMAGE, _TEXT = "image_embedding", "text_embedding"
_COLUMNS = SCHEMA.names[:-1]  # without the number in a shard


class Unfinished:
    """The folder ``unfinished`` of a folder of shards, with an Arrow file for each batch. All of
    them are of the shards' model, with vectors of ``dim`` elements."""

    def __init__(self, shards: Path, dim: int) -> None:
        self._folder = shards / "unfinished"
        self._rows = Rows.none(dim)
        self._places: dict[str, int] = {}
        self._read()

    def take(self, pictures: Sequence[Picture]) -> tuple[Rows | None, list[Picture]]:
        """The rows of those pictures that an earlier run has embedded as they are now, and the
        other pictures."""
        places, others = [], []
        for picture in pictures:
            place = self._places.get(picture.url)
            if place is not None and self._is_same(picture, place):
                places.append(place)
            else:
                others.append(picture)
        return (self._rows.take(places) if places else None), others

    def keep(self, rows: Rows) -> Path:
        """Write a batch; it is whole, or not there. Raises DiskError or UserError if it cannot be
        written."""
        path = self._folder / f"{uuid.uuid4().hex}.arrow"
        part = path.with_suffix(".part")
        schema = SCHEMA.remove(len(SCHEMA) - 1)
        table = pa.Table.from_pylist(rows.entries, schema=schema)
        for name, vectors in ((_IMAGE, rows.image), (_TEXT, rows.text)):
            flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
            lists = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
            table = table.append_column(name, lists)
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with (
                    pa.OSFile(str(part), "wb") as sink,
                    pa.ipc.new_file(sink, table.schema) as writer,
                ):
                    writer.write_table(table)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return path

    def clear(self) -> None:
        """Remove all batches: what they hold is in shards."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self) -> None:
        parts = []
        for path in sorted(self._folder.glob("*.arrow")):
            # A file that is damaged, or of another release, is embedded anew.
            with suppress(pa.ArrowException, OSError, KeyError), pa.OSFile(str(path)) as source:
                parts.append(_rows(pa.ipc.open_file(source).read_all()))
        if parts:
            self._rows = Rows.join([self._rows, *parts])
            paths = (entry["image_path"] for entry in self._rows.entries)
            self._places = {path: place for place, path in enumerate(paths)}

    def _is_same(self, picture: Picture, place: int) -> bool:
        entry = self._rows.entries[place]
        own_caption = entry["description"] or entry["title"] or ""
        wanted = with_own_caption(picture, own_caption)
        return (entry["caption"], entry["file_bytes"], entry["file_mtime_ns"]) == (
            wanted.caption,
            wanted.bytes,
            wanted.mtime_ns,
        )


def _rows(table: pa.Table) -> Rows:
    image, text = (_vectors(table.column(name)) for name in (_IMAGE, _TEXT))
    return Rows(image, text, table.select(_COLUMNS).to_pylist())


def _vectors(lists: pa.ChunkedArray) -> np.ndarray:
    flat = lists.combine_chunks().flatten().to_numpy()
    return np.asarray(flat).reshape(len(lists), -1)
