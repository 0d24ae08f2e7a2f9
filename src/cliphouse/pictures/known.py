"""What the shards of a folder of pictures say: each picture's row, and the file that it was.

The shards themselves record what is done. A crash cannot leave a second record that disagrees with
them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cliphouse.models import Encoder
from cliphouse.pictures.find import Picture
from cliphouse.pictures.output import foreign, is_taken, shard_files
from cliphouse.shards.fields import ROW_COLUMN
from cliphouse.shards.files import Shard, find_shards
from cliphouse.shards.manifest import MANIFEST_NAME
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
        (ROW_COLUMN, pa.int64()),
    ]
)
_ALWAYS = SCHEMA.names[:7]  # the columns that shards of release 0.1 have
_ALWAYS_READ = ("image_path", "caption", "file_bytes", "file_mtime_ns")
_NEXT_ROW = b"cliphouse.next_row"


@dataclass(frozen=True)
class KnownRow:
    """A picture's row: its shard's number, its place in the shard's files, and the file as it was
    embedded. ``hash`` is XXH3-128 of the file's bytes, empty in shards of release 0.1.
    ``own_caption`` is what the photograph says of itself, and ``folder`` where it was in the folder
    that was embedded."""

    shard: int
    place: int
    path: str
    caption: str
    bytes: int
    mtime_ns: int
    hash: str
    own_caption: str = ""
    folder: str = ""

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
    """All rows by path, the shards by number, and further rows of the same paths, as runs at the
    same time have left them."""

    rows: dict[str, KnownRow] = field(default_factory=dict)
    shards: dict[int, KnownShard] = field(default_factory=dict)
    doubled: list[KnownRow] = field(default_factory=list)


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
    known = Known()
    for shard in find_shards([str(folder)]) if any(shard_files(folder)) else []:
        _read_shard(known, shard, pq.read_schema(shard.metadata.path))
    return known


def schema_with_next_row(next_row: int) -> pa.Schema:
    """The schema of metadata whose shard gets ``next_row`` as its next row's number."""
    return SCHEMA.with_metadata({_NEXT_ROW: str(next_row).encode()})


def _read_shard(known: Known, shard: Shard, schema: pa.Schema) -> None:
    wanted = (*_ALWAYS_READ, "file_hash", "folder", "description", "title")
    there = [name for name in wanted if name in schema.names]
    table = pq.ParquetFile(shard.metadata.path).read(columns=there)
    absent = [None] * table.num_rows
    columns = (
        table.column(name).to_pylist() if name in table.column_names else absent for name in wanted
    )
    for place, values in enumerate(zip(*columns, strict=True)):
        path, caption, size, mtime_ns, digest, folder, *own = values
        own_caption = own[0] or own[1] or ""
        file = (path, caption, size, mtime_ns, digest or "")
        row = KnownRow(shard.number, place, *file, own_caption, folder or "")
        if known.rows.setdefault(path, row) is not row:
            known.doubled.append(row)
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
