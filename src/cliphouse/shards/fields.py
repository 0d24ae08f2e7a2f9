"""What is read from metadata files: the fields that a caller asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FieldType = Literal["binary", "float32", "int32"]


@dataclass(frozen=True)
class MetadataField:
    """A value that each row of a metadata file is read for, as an Arrow column of ``type``.

    ``spellings`` are the lower-case names that the file's column may have, the preferred one
    first. ``absent`` is the value of rows that have none. A row whose text is empty takes that of
    the first of ``fallbacks``, further names, that is not. With ``is_pair_cosine``, a shard whose
    file lacks the column gets the cosine similarity of each row's two embeddings.
    """

    name: str
    type: FieldType
    spellings: tuple[str, ...]
    absent: str | int | float
    fallbacks: tuple[str, ...] = ()
    is_pair_cosine: bool = False
