"""Where the files of a model are, by the name of a known one or by a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cliphouse.errors import ModelError
from cliphouse.models.facts import TextFacts, VisionFacts
from cliphouse.models.hub import hub_folder
from cliphouse.models.layouts import Layout, fastembed, find_layout, layout_of
from cliphouse.models.registry import MODELS, TINY, KnownModel, Part, known_model

FOLDER_VARIABLE = "CLIPHOUSE_MODELS"


class ModelFiles(Protocol):
    """The files of a model. Its methods raise ModelError if a file is missing or does not say what
    it should; one half of a model works without the other."""

    @property
    def name(self) -> str:
        """The name that shards and tables keep."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder of its files; None if they are in the hub's cache, or to be fetched there."""
        ...

    def dim(self) -> int | None:
        """The dimension of its vectors, None if only the networks say it."""
        ...

    def text(self) -> TextFacts:
        """The facts of its text tower."""
        ...

    def vision(self) -> VisionFacts:
        """The facts of its image tower."""
        ...


@dataclass(frozen=True)
class FolderModel:
    """A model whose files are all in one folder. ``known`` is the one that it is called as."""

    name: str
    folder: Path
    layout: Layout
    known: KnownModel | None = None

    def dim(self) -> int | None:
        dim = self.layout.dim(self.folder)
        if self.known is not None and dim not in (None, self.known.dim):
            raise ModelError(
                f"{self.folder}: has vectors of dimension {dim}, {self.name} of {self.known.dim}; "
                "rename the folder of another model"
            )
        return self.known.dim if self.known is not None else dim

    def text(self) -> TextFacts:
        return self.layout.text(self.folder)

    def vision(self) -> VisionFacts:
        return self.layout.vision(self.folder)


@dataclass(frozen=True)
class TowersApart:
    """A known model whose towers are repositories of their own: in ``folder``, or else in the cache
    of the hub, where they are fetched at the first use."""

    known: KnownModel
    folder: Path | None

    @property
    def name(self) -> str:
        return self.known.name

    def dim(self) -> int | None:
        return self.known.dim

    def text(self) -> TextFacts:
        return fastembed.text_facts(self._tower(self.known.parts[0], fastembed.TEXT_FILES))

    def vision(self) -> VisionFacts:
        return fastembed.vision_facts(self._tower(self.known.parts[1], fastembed.VISION_FILES))

    def _tower(self, part: Part, wanted: tuple[str, ...]) -> Path:
        if self.folder is None:
            return hub_folder(self.known, part, wanted)
        places = _places(self.folder, part)
        place = next((place for place in places if place.is_dir()), places[0])
        if missing := [name for name in wanted if not (place / name).is_file()]:
            here = find_layout(self.folder)
            is_other = here is not None and here is not fastembed.LAYOUT
            hint = f", or give --model {self.folder} for the model there" if is_other else ""
            raise ModelError(
                f"{place}: {', '.join(missing)} missing; put the files of "
                f"huggingface.co/{part.repository} there ({', '.join(wanted)}){hint}"
            )
        return place


def _places(folder: Path, part: Part) -> list[Path]:
    """Where in ``folder`` a tower that is a repository of its own may be."""
    return [folder / part.folder, folder / part.repository.split("/")[-1], folder / part.repository]


def find_model(model: str, folder: str | None = None) -> ModelFiles:
    """Find the files of a model by the name of a known one, by that of a folder in ``folder`` (or
    the environment's CLIPHOUSE_MODELS), or by the path of a folder.

    Raises ModelError that says what to do if there is no such model, or it is not on this machine.
    """
    here = folder or os.environ.get(FOLDER_VARIABLE)
    root = Path(here) if here else None
    given = _given_folder(model)
    if given is not None:
        known = _called_as(given)
        name = known.name if known is not None else _own_name(given)
        return FolderModel(name, given, layout_of(given), known)
    known = known_model(model)
    if known is not None and known.name == TINY:
        return FolderModel(TINY, Path(__file__).parent / TINY, fastembed.LAYOUT, known)
    if known is not None and known.has_towers_apart and root is not None and _has_part(root, known):
        return TowersApart(known, root)
    found = _named_folder(model, known, root)
    if found is not None:
        return FolderModel(known.name if known else model, found, layout_of(found), known)
    if known is None:
        raise _unknown(model)
    if known.has_towers_apart:
        return TowersApart(known, root)
    raise ModelError(
        f"model {known.name} is not on this machine{f' in {root}' if root else ''}: run cliphouse "
        f"models fetch {known.name} --to DIR, then give --model-dir DIR or set "
        f"{FOLDER_VARIABLE}=DIR"
    )


def model_name(model: str, folder: str | None = None) -> str:
    """The name that shards and tables keep for ``model``, which is as in ``find_model``. The files
    of a known model need not be here.

    Raises ModelError if there is no such model.
    """
    known = known_model(model) if _given_folder(model) is None else None
    return known.name if known is not None else find_model(model, folder).name


def absolute_model(model: str) -> str:
    """``model`` as a process with another working folder understands it."""
    given = _given_folder(model)
    return model if given is None else str(given.absolute())


def _given_folder(model: str) -> Path | None:
    """The folder that ``model`` is the path of; None if it is a name. A folder of the working
    folder that is called as a known model is named ./NAME."""
    if not model:
        return None
    path = Path(model).expanduser()
    if model.startswith((".", "/", "~", os.sep)):
        return path
    if known_model(model) is not None:
        return None
    is_model = path.is_dir() and find_layout(path) is not None
    return path if is_model or (os.sep in model and path.exists()) else None


def _own_name(folder: Path) -> str:
    """The name that a folder gives its model: its own, or the repository's in the hub's cache,
    where a folder is called models--OWNER--NAME/snapshots/REVISION."""
    whole = Path(os.path.abspath(folder))  # noqa: PTH100 - a link keeps its own name
    place = whole.parent.parent.name
    if whole.parent.name == "snapshots" and place.startswith("models--"):
        return place.split("--")[-1]
    return whole.name


def _called_as(folder: Path) -> KnownModel | None:
    """The known model that a folder's name says."""
    known = known_model(_own_name(folder))
    if known is not None and known.name == TINY:
        raise ModelError(f"{folder}: rename this folder; {TINY} is the name of the bundled model")
    return known


def _has_part(root: Path, known: KnownModel) -> bool:
    return any(place.is_dir() for part in known.parts for place in _places(root, part))


def _named_folder(model: str, known: KnownModel | None, root: Path | None) -> Path | None:
    """The folder of a model in ``root``, or ``root`` itself if it is called so."""
    if root is None or not root.is_dir():
        return None

    def is_called(name: str) -> bool:
        return known.is_called(name) if known else name == model

    if is_called(_own_name(root)):
        return root
    return next((path for path in sorted(root.iterdir()) if is_called(path.name)), None)


def _unknown(model: str) -> ModelError:
    return ModelError(
        f"model {model!r} is unknown; there are {', '.join(known.name for known in MODELS)}. A "
        "folder of model files is named by its path in --model, or by its own name if the folder "
        f"that holds it is given in --model-dir or {FOLDER_VARIABLE}"
    )
