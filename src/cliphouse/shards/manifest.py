"""The manifest of a folder of shards: the model that made their embeddings, and the roots that the
pictures are in.

cliphouse writes it as ``cliphouse.json`` beside the folders of embeddings. LAION and clip-retrieval
have none.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from cliphouse.errors import ShardError
from cliphouse.shards.disk import disk_errors, write_whole
from cliphouse.shards.files import open_fs
from cliphouse.shards.roots import Root

MANIFEST_NAME = "cliphouse.json"


@dataclass(frozen=True)
class Manifest:
    """The encoder's name, the dimension of its vectors, and the roots that rows name. One frame in
    ``every`` seconds was taken of videos; None if nobody has said so. With ``scenes`` it was one
    of each scene."""

    model: str
    dim: int
    roots: tuple[Root, ...] = ()
    every: float | None = None
    scenes: bool = False

    def is_of_model(self, other: Manifest) -> bool:
        """Whether both are of one model."""
        return (self.model, self.dim) == (other.model, other.dim)


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
        roots = (Root(str(each["name"]), str(each["place"])) for each in values.get("roots", ()))
        every = float(values["every"]) if "every" in values else None
        scenes = bool(values.get("scenes"))
        return Manifest(str(values["model"]), int(values["dim"]), tuple(roots), every, scenes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{path}: damaged ({error}); remove it to go on without it") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest in one step, so that no reader sees half of it."""
    path = folder / MANIFEST_NAME
    record = {name: value for name, value in asdict(manifest).items() if value}
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(record) + "\n", f".{os.getpid()}")
