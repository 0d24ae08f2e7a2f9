"""The folder that pictures are embedded into: whose shards it may have, and their files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cliphouse.errors import ShardError
from cliphouse.models import Encoder
from cliphouse.shards.manifest import Manifest, read_manifest, write_manifest
from cliphouse.shards.roots import Root


def take_folder(
    folder: Path,
    encoder: Encoder,
    roots: Sequence[Root] | None = None,
    every: float | None = None,
    scenes: bool = False,
) -> None:
    """Make ``folder``, if it is not there, a folder of the encoder's shards, which know just these
    ``roots``, and that one frame in ``every`` seconds is taken of videos, or one of each scene;
    without either, and with None, they know what they knew.

    Raises ShardError if it has shards of another model or another program.
    """
    known = read_manifest(str(folder)) if is_taken(folder, encoder) else None
    wanted = known or Manifest(encoder.name, encoder.dim)
    if roots is not None:
        wanted = replace(wanted, roots=tuple(roots))
    if every is not None:
        wanted = replace(wanted, every=every, scenes=False)
    if scenes:
        wanted = replace(wanted, scenes=True)
    if wanted != known:
        write_manifest(folder, wanted)


def is_taken(folder: Path, encoder: Encoder) -> bool:
    """Whether ``folder`` is one of the encoder's shards already. Raises ShardError as `take_folder`
    does."""
    ours = Manifest(encoder.name, encoder.dim)
    manifest = read_manifest(str(folder))
    if manifest is not None and not manifest.is_of_model(ours):
        raise ShardError(
            f"{folder}: has shards of model {manifest.model}; give --model {manifest.model} "
            "or another folder"
        )
    if manifest is None and any(shard_files(folder)):
        raise foreign(folder)
    return manifest is not None


def foreign(folder: Path) -> ShardError:
    return ShardError(f"{folder}: has shards of another program; give another folder")


def shard_files(folder: Path, suffix: str = "", number: int | None = None) -> Iterator[Path]:
    """The files in ``folder`` with the place and name of a shard's file, and ``suffix``; with
    ``number``, that shard's alone."""
    digits = r"\d+" if number is None else str(number)
    for kind, ending in (("img_emb", "npy"), ("text_emb", "npy"), ("metadata", "parquet")):
        for path in list(folder.glob(f"{kind}/{kind}_*.{ending}{suffix}")):
            if re.fullmatch(rf"{kind}_{digits}\.{ending}{re.escape(suffix)}", path.name):
                yield path
