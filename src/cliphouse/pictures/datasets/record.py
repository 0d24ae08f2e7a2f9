"""What a shard's metadata says of the input that it was made from, and of what is not in it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_KEY = b"cliphouse.input"


@dataclass(frozen=True)
class Record:
    """An input as it was when its ``rows`` pictures were embedded.

    ``skipped`` counts those of which no row could be made, ``absent`` those that img2dataset had
    not got. ``fault`` says why the input ended too early, if it did.
    """

    address: str
    size: int
    version: str
    rows: int
    skipped: int
    absent: int
    fault: str

    def is_of(self, size: int, version: str) -> bool:
        """Whether the input has not changed since."""
        return (self.size, self.version) == (size, version)

    def put_on(self, table: pa.Table) -> pa.Table:
        """``table`` with the record, which is written with it."""
        return table.replace_schema_metadata({_KEY: json.dumps(asdict(self)).encode()})


def read_record(metadata: Path) -> Record | None:
    """The record in a shard's metadata file; None if there is none.

    Raises OSError or pyarrow.ArrowException if the file cannot be read.
    """
    kept = pq.read_metadata(metadata).metadata or {}
    try:
        return Record(**json.loads(kept[_KEY]))
    except (KeyError, ValueError, TypeError):
        return None
