"""What the shards of a folder of pictures say: each picture's row, and the file that it was.

The shards themselves record what is done. A crash cannot leave a second record that disagrees with
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cliphouse.models import Encoder
from cliphouse.pictures.find import Picture, Videos
from cliphouse.pictures.known_scenes import KnownScenes
from cliphouse.pictures.output import foreign, is_taken, shard_files
from cliphouse.pictures.video import EVERY_SECONDS, split_frame
from cliphouse.shards.fields import ROW_COLUMN
from cliphouse.shards.files import Shard, find_shards
from cliphouse.shards.manifest import MANIFEST_NAME, read_manifest
from cliphouse.shards.roots import Root, local_urls
from cliphouse.shards.writer import finish_shards

SCHEMA = pa.schema(
    [
        ("image_path", pa.string()),
        ("caption", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("similarity", pa.float32()),
        ("file_bytes", pa.int64()),
        ("file_mtime_ns", pa.int64()),
        ("file_hash", pa.string()),
        ("file_name", pa.string()),
        ("folder", pa.string()),
        ("taken", pa.timestamp("s")),
        ("camera", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("orientation", pa.int8()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("keywords", pa.list_(pa.string())),
        ("frame_time", pa.float64()),
        ("video_seconds", pa.float64()),
        (ROW_COLUMN, pa.int64()),
    ]
)
_ALWAYS = SCHEMA.names[:7]  # the columns that shards of release 0.1 have
_ALWAYS_READ = ("image_path", "caption", "file_bytes", "file_mtime_ns")
_NEXT_ROW = b"cliphouse.next_row"


@dataclass(slots=True)
class KnownRow:
    """A picture's row: its shard's number, its place in the shard's files, and the file as it was
    embedded. ``url`` is what the row calls it, in a root or by its path; ``path`` is where it is to
    be found now. ``hash`` is XXH3-128 of the file's bytes, empty in shards of release 0.1.
    ``own_caption`` is what the photograph says of itself, and ``folder`` where it was in the folder
    that was embedded. ``path`` has the time of a frame behind it, and ``video_seconds`` is how long
    its video is."""

    shard: int
    place: int
    url: str
    caption: str
    bytes: int
    mtime_ns: int
    hash: str
    own_caption: str = ""
    folder: str = ""
    video_seconds: float | None = None
    path: str = ""

    @property
    def root(self) -> str:
        """The folder that was embedded, with a slash at its end."""
        parent = self.path.rpartition("/")[0]
        return parent.removesuffix(self.folder).rstrip("/") + "/"

    def is_file(self, picture: Picture) -> bool:
        """Whether the picture's file is the one that was embedded, by its size and time."""
        return (self.bytes, self.mtime_ns) == (picture.bytes, picture.mtime_ns)


@dataclass(frozen=True)
class KnownShard:
    """A shard of pictures. ``next_row`` is the number of the next row that is added to it."""

    shard: Shard
    next_row: int


@dataclass
class Known:
    """The shards by number, the roots that they name, and all rows as they are ``listed`` there.
    ``every`` is how many seconds apart the frames of their videos are, if somebody has said so, and
    ``are_scenes`` whether they are those of scenes.

    ``rows`` are those whose files may be there, by path, and ``doubled`` further rows of the same
    paths, as runs at the same time have left them: both are empty until `find_files` is called."""

    roots: tuple[Root, ...] = ()
    every: float | None = None
    are_scenes: bool = False
    shards: dict[int, KnownShard] = field(default_factory=dict)
    listed: list[KnownRow] = field(default_factory=list)
    rows: dict[str, KnownRow] = field(default_factory=dict)
    doubled: list[KnownRow] = field(default_factory=list)

    def find_files(self, roots: Sequence[Root], chosen: Root | None) -> None:
        """Give the rows the paths of their files, with these ``roots``. Rows of a root that is not
        there are left out, unless it is the ``chosen`` one: nothing is known of their files."""
        away = tuple(each.prefix for each in roots if each != chosen and not each.is_there)
        local = local_urls(roots)
        for row in self.listed:
            row.path = local(row.url)
            if away and row.url.startswith(away):
                continue
            if self.rows.setdefault(row.path, row) is not row:
                self.doubled.append(row)


class KnownVideos(Videos):
    """Videos whose length the rows of their frames tell, if they are as they were, and ``scenes``
    where their scenes begin. One frame is taken of each scene if ``are_scenes`` says so, or else in
    ``every`` seconds, or if neither is given, as before."""

    def __init__(
        self, known: Known, every: float | None, are_scenes: bool, scenes: KnownScenes
    ) -> None:
        self.every = every or known.every or EVERY_SECONDS
        self._are_scenes = are_scenes or (every is None and known.are_scenes)
        self._known = known
        self._scenes = scenes

    def length(self, picture: Picture) -> float:
        return self._lengths.get(_file(picture)) or super().length(picture)

    def times(self, picture: Picture, length: float) -> list[float]:
        if self._are_scenes:
            return self._scenes.times(picture)
        return super().times(picture, length)

    @cached_property
    def _lengths(self) -> dict[tuple[str, int, int], float]:
        return {
            (split_frame(row.path)[0], row.bytes, row.mtime_ns): row.video_seconds
            for row in self._known.listed
            if row.video_seconds is not None
        }


def _file(picture: Picture) -> tuple[str, int, int]:
    return picture.file, picture.bytes, picture.mtime_ns


def read_known(folder: Path, encoder: Encoder, may_mend: bool = True) -> Known:
    """Read the rows of the shards in ``folder``; if ``may_mend``, after finishing what a killed run
    has begun.

    Raises ShardError if the shards are of another model or of another program.
    """
    if not is_taken(folder, encoder):
        return Known()
    for path in shard_files(folder):
        if path.suffix == ".parquet" and not set(_ALWAYS) <= set(pq.read_schema(path).names):
            raise foreign(folder)
    if may_mend:
        finish_shards(folder)
        _clear_leftovers(folder)
    manifest = read_manifest(str(folder))
    assert manifest is not None
    known = Known(manifest.roots, manifest.every, manifest.scenes)
    for shard in find_shards([str(folder)]) if any(shard_files(folder)) else []:
        _read_shard(known, shard, pq.read_schema(shard.metadata.path))
    return known


def schema_with_next_row(next_row: int) -> pa.Schema:
    """The schema of metadata whose shard gets ``next_row`` as its next row's number."""
    return SCHEMA.with_metadata({_NEXT_ROW: str(next_row).encode()})


def _read_shard(known: Known, shard: Shard, schema: pa.Schema) -> None:
    wanted = (*_ALWAYS_READ, "file_hash", "folder", "video_seconds", "description", "title")
    there = [name for name in wanted if name in schema.names]
    table = pq.ParquetFile(shard.metadata.path).read(columns=there)
    absent = [None] * table.num_rows
    columns = (
        table.column(name).to_pylist() if name in table.column_names else absent for name in wanted
    )
    for place, values in enumerate(zip(*columns, strict=True)):
        url, caption, size, mtime_ns, digest, folder, length, *own = values
        own_caption = own[0] or own[1] or ""
        file = (url, caption, size, mtime_ns, digest or "")
        known.listed.append(KnownRow(shard.number, place, *file, own_caption, folder or "", length))
    next_row = int((schema.metadata or {}).get(_NEXT_ROW, table.num_rows))
    known.shards[shard.number] = KnownShard(shard, next_row)


def _clear_leftovers(folder: Path) -> None:
    """Remove the files of a killed run: unfinished files, and embeddings without metadata."""
    for part in (*shard_files(folder, ".part"), *folder.glob(f"{MANIFEST_NAME}.*.part")):
        part.unlink()
    for file in shard_files(folder):
        number = file.stem.rsplit("_", 1)[-1]
        if not (folder / "metadata" / f"metadata_{number}.parquet").exists():
            file.unlink()
