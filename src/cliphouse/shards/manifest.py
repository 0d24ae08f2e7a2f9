"""The manifest of a folder of shards: the model that made their embeddings.

cliphouse writes it as ``cliphouse.json`` beside the folders of embeddings. LAION and clip-retrieval
have none.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from cliphouse.errors import ShardError
from cliphouse.shards.disk import disk_errors
from cliphouse.shards.files import open_fs

MANIFEST_NAME = "cliphouse.json"


@dataclass(frozen=True)
class Manifest:
    """The encoder's name and the dimension of its vectors."""

    model: str
    dim: int


def read_manifest(folder: str) -> Manifest | None:
    """Read the manifest of ``folder`` (a path or fsspec URL); None if there is none.

    Raises ShardError if it is damaged.
    """
    fs, root = open_fs(folder)
    path = f"{root.rstrip('/')}/{MANIFEST_NAME}"
    try:
        if not fs.isfile(path):
            return None
        values = json.loads(fs.cat_file(path))
        return Manifest(str(values["model"]), int(values["dim"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{path}: damaged ({error}); remove it to go on without it") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest in one step, so that no reader sees half of it."""
    path = folder / MANIFEST_NAME
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # of each writer at once its own
    with disk_errors(path):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(asdict(manifest)) + "\n")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
