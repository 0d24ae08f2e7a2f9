"""The fields of a metadata file, as a caller asks for them, and those of the guide's CSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FieldType = Literal["binary", "float32", "int32"]
CSV_METADATA = ("url", "caption", "NSFW", "similarity")
# The column of metadata that says which rows of the shard the file has; without it, all from 0 on.
ROW_COLUMN = "shard_row"
CSV_COLUMNS = (*CSV_METADATA, "image_embedding", "text_embedding")  # behind the row's number


@dataclass(frozen=True)
class MetadataField:
    """A field to read from a metadata file, as an Arrow column of ``type``.

    ``spellings`` are the lower-case names that the file's column may have, the preferred one
    first. ``absent`` is the value of rows that have none. ``fallbacks`` are names of further
    columns: if a row's text is empty, it takes the first of theirs that is not. If
    ``is_pair_cosine``, a shard whose file lacks the column gets the cosine similarity of each row's
    two embeddings.
    """

    name: str
    type: FieldType
    spellings: tuple[str, ...]
    absent: str | int | float
    fallbacks: tuple[str, ...] = ()
    is_pair_cosine: bool = False


@dataclass(frozen=True)
class KeptColumn:
    """A column that a table keeps beside LAION's: its ``name`` and type ``sql`` in the table, and
    its name in metadata files, ``source`` (see cliphouse.shards.kept)."""

    name: str
    source: str
    sql: str

    @property
    def is_list(self) -> bool:
        return self.sql.startswith("Array(")
