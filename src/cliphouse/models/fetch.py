"""Fetching the files of a model from the Hugging Face hub into a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from cliphouse.errors import ModelError
from cliphouse.models.layouts import layout_of
from cliphouse.models.registry import MODELS, KnownModel, Part, known_model

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

# The files of each layout, which may have weights in files of any name beside a network; and those
# for other runtimes among them.
_WANTED = [
    *("*.json", "model.onnx*", "textual/*", "visual/*"),
    *("onnx/text_model.onnx*", "onnx/vision_model.onnx*"),
]
_LEFT_OUT = ["*.armnn", "*rknpu*", "*/fp16/*"]
_PIECE = 2**20


def fetch_model(name: str, to: Path, endpoint: str | None = None, quiet: bool = False) -> Path:
    """Fetch a known model, or that of a repository OWNER/NAME, into a folder of its name in ``to``,
    and return that folder.

    A second run goes on with what is missing, and checks all files again. ``endpoint`` is the hub's
    address, by default the environment's HF_ENDPOINT or huggingface.co. It draws progress bars
    unless ``quiet``.

    Raises ModelError if the model is not known or needs no download, if the hub cannot be reached,
    if the repository has no known layout, or if a file is not what the hub says: then it is
    removed, and a second run fetches it again.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    known = known_model(name)
    if known is None and "/" in name:
        known = KnownModel(name.split("/")[-1], 0, "", (Part(name),))
    if known is None or not known.parts:
        fetched = ", ".join(model.name for model in MODELS if model.parts)
        reason = "comes with cliphouse" if known is not None else "is unknown"
        raise ModelError(f"model {name!r} {reason}; {fetched} and OWNER/NAME can be fetched")
    if quiet:
        disable_progress_bars()
    folder = to / known.folder
    for part in known.parts:
        _fetch(known, part, folder / part.folder, HfApi(endpoint))
    layout_of(folder)
    return folder


def _fetch(known: KnownModel, part: Part, folder: Path, hub: HfApi) -> None:
    try:
        revision = hub.model_info(part.repository).sha
        hub.snapshot_download(
            part.repository,
            revision=revision,
            local_dir=folder,
            allow_patterns=_WANTED,
            ignore_patterns=_LEFT_OUT,
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
        if isinstance(entry, RepoFile) and _is_wanted(entry.path):
            yield entry


def _is_wanted(path: str) -> bool:
    def matches(patterns: list[str]) -> bool:
        return any(fnmatch(path, pattern) for pattern in patterns)

    return matches(_WANTED) and not matches(_LEFT_OUT)


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
