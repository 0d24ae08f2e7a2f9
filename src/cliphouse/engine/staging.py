"""Rows on their way into a table: in memory, or in a file that the engine reads by itself."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cliphouse.shards.disk import disk_errors

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class StagedTable:
    """Rows to be sent to a server."""

    rows: pa.Table


@dataclass(frozen=True)
class StagedFile:
    """Rows in an Arrow ``file`` that the embedded engine reads; the insert removes the file."""

    columns: tuple[str, ...]
    file: Path


StagedRows: TypeAlias = StagedTable | StagedFile


def write_staged_file(rows: pa.Table, folder: Path) -> StagedFile:
    """Write ``rows`` into a new Arrow file in ``folder``. Raises DiskError if it is full."""
    import pyarrow as pa
    import pyarrow.ipc

    with disk_errors(folder):
        descriptor, name = tempfile.mkstemp(".arrow", dir=folder)
        os.close(descriptor)
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
    return StagedFile(tuple(rows.column_names), Path(name))
