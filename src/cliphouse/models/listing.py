"""The models that can be used here: those known by name, and the folders of others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cliphouse.errors import ModelError
from cliphouse.models.hub import cached_folder
from cliphouse.models.layouts import fastembed, find_layout
from cliphouse.models.model_files import FOLDER_VARIABLE, find_model
from cliphouse.models.registry import MODELS, KnownModel, known_model


@dataclass(frozen=True)
class ListedModel:
    """A model and what is known of it. ``dim`` is None if only its networks say it; ``bytes`` is
    the size of its download, 0 if it was not looked up; ``here`` is the folder of its files on this
    machine, empty if they are not on it."""

    name: str
    dim: int | None
    languages: str = ""
    bytes: int = 0
    licence: str = ""
    here: str = ""


def list_models(folder: str | None = None) -> list[ListedModel]:
    """The known models, then the others in ``folder`` (or the environment's CLIPHOUSE_MODELS)."""
    listed = [
        ListedModel(known.name, known.dim, known.languages, known.size, known.licence, here)
        for known in MODELS
        for here in [_place(known, folder)]
    ]
    root = folder or os.environ.get(FOLDER_VARIABLE)
    return listed + (_others(Path(root)) if root and Path(root).is_dir() else [])


def _place(known: KnownModel, folder: str | None) -> str:
    """Where the files of a model are; empty if one of them is missing or faulty."""
    try:
        found = find_model(known.name, folder)
        if found.folder is None:
            return _cached(known)
        found.text()
        found.vision()
        return str(found.folder)
    except ModelError:
        return ""


def _cached(known: KnownModel) -> str:
    """Where the towers of a model are in the hub's cache; empty if one is not."""
    wanted = (fastembed.TEXT_FILES, fastembed.VISION_FILES)
    places = [cached_folder(part, names) for part, names in zip(known.parts, wanted, strict=True)]
    return "" if None in places else str(places[0])


def _others(root: Path) -> list[ListedModel]:
    others = []
    for path in sorted(path for path in root.iterdir() if path.is_dir()):
        layout = find_layout(path)
        if layout is None or known_model(path.name) is not None:
            continue
        try:
            dim = layout.dim(path)
        except ModelError:
            dim = None
        others.append(ListedModel(path.name, dim, here=str(path)))
    return others
