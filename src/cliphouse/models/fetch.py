"""Fetching the files of a known model from the Hugging Face hub into a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from cliphouse.errors import ModelError
from cliphouse.models.registry import MODELS, KnownModel, Part, known_model

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

# What ONNX Runtime has no use for: networks for other runtimes, and the pages around them.
_LEFT_OUT = ["*.armnn", "*rknpu*", "*/fp16/*", "*.md", ".gitattributes"]
_PIECE = 2**20


def fetch_model(name: str, to: Path, endpoint: str | None = None, quiet: bool = False) -> Path:
    """Fetch a known model into a folder of its name in ``to``, and return that folder.

    A second run goes on with what is missing, and checks all files again. ``endpoint`` is the hub's
    address, by default the environment's HF_ENDPOINT or huggingface.co. It draws progress bars
    unless ``quiet``.

    Raises ModelError if the model is not known or needs no download, if the hub cannot be reached,
    or if a file is not what the hub says: then it is removed, and a second run fetches it again.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    known = known_model(name)
    if known is None or not known.parts:
        fetched = ", ".join(model.name for model in MODELS if model.parts)
        reason = "comes with cliphouse" if known is not None else "is unknown"
        raise ModelError(f"model {name!r} {reason}; {fetched} can be fetched")
    if quiet:
        disable_progress_bars()
    folder = to / known.folder
    for part in known.parts:
        _fetch(known, part, folder / part.folder, HfApi(endpoint))
    return folder


def _fetch(known: KnownModel, part: Part, folder: Path, hub: HfApi) -> None:
    try:
        revision = hub.model_info(part.repository).sha
        hub.snapshot_download(
            part.repository, revision=revision, local_dir=folder, ignore_patterns=_LEFT_OUT
        )
        files = list(_files(hub, part, revision))
    # The hub's library raises its own errors, its HTTP library's and the system's.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200] or repr(error)
        raise ModelError(
            f"model {known.name}: huggingface.co/{part.repository} could not be fetched "
            f"({reason}); what has arrived is kept, so run the same command again"
        ) from error
    damaged = [file.path for file in files if not _is_whole(folder / file.path, file)]
    for path in damaged:
        (folder / path).unlink(missing_ok=True)
    if damaged:
        raise ModelError(
            f"{folder}: {', '.join(damaged)} arrived damaged and was removed; run the same command "
            "again"
        )


def _files(hub: HfApi, part: Part, revision: str | None) -> Iterator[RepoFile]:
    """The files of a repository that were fetched, with their sizes and hashes."""
    from huggingface_hub import RepoFile

    for entry in hub.list_repo_tree(part.repository, recursive=True, revision=revision):
        is_left_out = any(fnmatch(entry.path, pattern) for pattern in _LEFT_OUT)
        if isinstance(entry, RepoFile) and not is_left_out:
            yield entry


def _is_whole(path: Path, file: RepoFile) -> bool:
    """Whether a file has the size and the hash that the hub says: SHA-256 of a large one, Git's
    hash of another."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        return _hash(path, hashlib.sha256()) == file.lfs.sha256
    head = f"blob {file.size}\0".encode()
    return _hash(path, hashlib.sha1(head, usedforsecurity=False)) == file.blob_id


def _hash(path: Path, made: hashlib._Hash) -> str:
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            made.update(piece)
    return made.hexdigest()
