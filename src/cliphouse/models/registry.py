"""The list of models, and finding the files of each. A new model is a new entry of MODELS."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cliphouse.errors import ModelError

FOLDER_VARIABLE = "CLIPHOUSE_MODELS"


@dataclass(frozen=True)
class Tower:
    """One of the two encoders of a CLIP model. ``repository`` is on the Hugging Face hub; None if
    the files are in this package, in the same layout. ``threads`` is how many ONNX Runtime takes
    unless the caller says so, None for all cores."""

    kind: str
    files: tuple[str, ...]
    repository: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class ModelSpec:
    """One CLIP model: two towers that encode into one space of ``dim`` dimensions."""

    name: str
    dim: int
    text: Tower
    vision: Tower
    aliases: tuple[str, ...] = ()


_TEXT_FILES = ("model.onnx", "tokenizer.json", "tokenizer_config.json")
_VISION_FILES = ("model.onnx", "preprocessor_config.json")

DEFAULT_MODEL = "ViT-B/32"
MODELS = (
    ModelSpec(
        "ViT-B/32",
        512,
        Tower("text", _TEXT_FILES, "Qdrant/clip-ViT-B-32-text"),
        Tower("vision", _VISION_FILES, "Qdrant/clip-ViT-B-32-vision"),
        aliases=("vit-b-32", "clip-vit-b-32", "clip-vit-b/32", "openai/clip-vit-base-patch32"),
    ),
    # Words of this model take 0.1 ms on one thread, and starting a second takes 30 ms of CPU.
    ModelSpec("tiny", 512, Tower("text", _TEXT_FILES, threads=1), Tower("vision", _VISION_FILES)),
)


def model_spec(name: str) -> ModelSpec:
    """The model with this name or alias. Raises ModelError if there is none."""
    for spec in MODELS:
        if name.lower() in (spec.name.lower(), *spec.aliases):
            return spec
    raise ModelError(f"model {name!r} is unknown; there are {', '.join(m.name for m in MODELS)}")


def tower_folder(spec: ModelSpec, tower: Tower, folder: str | None = None) -> Path:
    """The folder of a tower's files; they are fetched from the hub if they are not there yet.

    ``folder`` (or the environment variable CLIPHOUSE_MODELS) has the two towers as ``text`` and
    ``vision``, or under their hub names. Without it, the files are in the hub's own cache.

    Raises ModelError that says which file is missing and where it belongs.
    """
    if tower.repository is None:
        return Path(str(files("cliphouse.models"))) / spec.name / tower.kind
    folder = folder or os.environ.get(FOLDER_VARIABLE)
    return _local(Path(folder), tower, tower.repository) if folder else _hub(spec, tower)


def _local(folder: Path, tower: Tower, repository: str) -> Path:
    choices = [folder / tower.kind, folder / repository.split("/")[-1], folder / repository]
    place = next((choice for choice in choices if choice.is_dir()), choices[0])
    if missing := [name for name in tower.files if not (place / name).is_file()]:
        raise ModelError(
            f"{place}: {', '.join(missing)} missing; put the files of "
            f"huggingface.co/{repository} there ({', '.join(tower.files)})"
        )
    return place


def _hub(spec: ModelSpec, tower: Tower) -> Path:
    from huggingface_hub import snapshot_download  # slow to import, and rarely needed
    from huggingface_hub.errors import LocalEntryNotFoundError

    assert tower.repository is not None
    wanted = ["*.json", "model.onnx"]
    try:
        cached = Path(snapshot_download(tower.repository, local_files_only=True))
        if all((cached / name).is_file() for name in tower.files):
            return cached
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(tower.repository, allow_patterns=wanted))
    # The hub's library raises its own errors, its HTTP library's and the system's.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200] or repr(error)
        raise ModelError(
            f"model {spec.name} is not on this machine and could not be fetched from "
            f"huggingface.co/{tower.repository} ({reason}). Offline: copy the files of "
            f"{spec.text.repository} into DIR/text ({', '.join(_TEXT_FILES)}) and of "
            f"{spec.vision.repository} into DIR/vision ({', '.join(_VISION_FILES)}), then give "
            f"--model-dir DIR or set {FOLDER_VARIABLE}=DIR. Without any download: --model tiny, "
            "which knows only drawn shapes"
        ) from error
