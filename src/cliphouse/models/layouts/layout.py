"""One layout of a model's folder, and what all layouts share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cliphouse.errors import ModelError
from cliphouse.models.facts import TextFacts, VisionFacts
from cliphouse.models.json_file import JsonFile


@dataclass(frozen=True)
class Layout:
    """A way to lay out a model's files in a folder.

    ``looks`` says in words how it is recognised. ``text`` and ``vision`` read the facts of a tower:
    they raise ModelError that names a missing file, and the file and key of what is missing or
    unknown. ``dim`` reads the dimension of the vectors; None if no file says it but the network.
    """

    name: str
    looks: str
    recognises: Callable[[Path], bool]
    text: Callable[[Path], TextFacts]
    vision: Callable[[Path], VisionFacts]
    dim: Callable[[Path], int | None]


def network_file(folder: Path, name: str) -> Path:
    """The ONNX file ``name`` in ``folder``, or the one in half precision beside it.

    Raises ModelError if there is neither: smaller ones would change the vectors.
    """
    choices = [folder / f"{name}.onnx", folder / f"{name}_fp16.onnx"]
    found = next((path for path in choices if path.is_file()), None)
    if found is None:
        raise ModelError(f"{folder}: {name}.onnx missing")
    return found


def insist_on(folder: Path, *names: str) -> None:
    """Raises ModelError that names the files that ``folder`` lacks."""
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ModelError(f"{folder}: {', '.join(missing)} missing")


def pad_token(settings: JsonFile) -> str:
    """The text of the padding token in a tokenizer_config.json."""
    token = settings.values.get("pad_token")
    if isinstance(token, dict):
        return settings.part("pad_token").text("content")
    return settings.text("pad_token")
