"""The Hugging Face hub: its cache on this machine, and the files of a tower from there."""

from __future__ import annotations

from pathlib import Path

from cliphouse.errors import ModelError
from cliphouse.models.layouts import fastembed
from cliphouse.models.registry import KnownModel, Part


def hub_folder(known: KnownModel, part: Part, wanted: tuple[str, ...]) -> Path:
    """The folder of a repository's files in the hub's cache; they are fetched if they are not all
    there yet.

    Raises ModelError that says how to go on without a network.
    """
    from huggingface_hub import snapshot_download  # slow to import, and rarely needed

    cached = cached_folder(part, wanted)
    if cached is not None:
        return cached
    try:
        return Path(snapshot_download(part.repository, allow_patterns=["*.json", "model.onnx"]))
    # The hub's library raises its own errors, its HTTP library's and the system's.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200] or repr(error)
        text, vision = known.parts
        raise ModelError(
            f"model {known.name} is not on this machine and could not be fetched from "
            f"huggingface.co/{part.repository} ({reason}). Offline: copy the files of "
            f"{text.repository} into DIR/text ({', '.join(fastembed.TEXT_FILES)}) and of "
            f"{vision.repository} into DIR/vision ({', '.join(fastembed.VISION_FILES)}), then give "
            "--model-dir DIR or set CLIPHOUSE_MODELS=DIR. Without any download: --model tiny, "
            "which knows only drawn shapes"
        ) from error


def cached_folder(part: Part, wanted: tuple[str, ...]) -> Path | None:
    """The folder of a repository in the hub's cache; None if it is not there with all files."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(part.repository, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return cached if all((cached / name).is_file() for name in wanted) else None
