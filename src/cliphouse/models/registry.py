"""The models that are known by name. A new one is a new entry of MODELS."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A repository of the Hugging Face hub with files of a model. ``folder`` is where they belong
    in the model's folder; empty if the repository is the model's folder."""

    repository: str
    folder: str = ""


@dataclass(frozen=True)
class KnownModel:
    """A model by name: what is known of it before its files are here.

    ``parts`` are its repositories; none if its files are in this package. ``size`` is that of the
    networks in bytes, 0 if it was not looked up; ``licence`` is empty if it was not.
    """

    name: str
    dim: int
    languages: str
    parts: tuple[Part, ...] = ()
    size: int = 0
    licence: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name of the folder that its files are fetched into."""
        return self.name.replace("/", "-")

    @property
    def has_towers_apart(self) -> bool:
        """Whether each tower is a repository of its own, as fastembed has them."""
        return len(self.parts) > 1

    def is_called(self, name: str) -> bool:
        """Whether ``name`` is the model's name, its folder's, its repository's or an alias."""
        names = (self.name, self.folder, *self.aliases)
        whole = () if self.has_towers_apart else tuple(part.repository for part in self.parts)
        last = tuple(repository.split("/")[-1] for repository in whole)
        return name.lower() in {known.lower() for known in (*names, *whole, *last)}


DEFAULT_MODEL = "ViT-B/32"
TINY = "tiny"

# Dimensions, sizes and licences are those of the models' pages on huggingface.co and of
# github.com/openai/CLIP.
MODELS = (
    KnownModel(
        DEFAULT_MODEL,
        512,
        "English",
        (Part("Qdrant/clip-ViT-B-32-text", "text"), Part("Qdrant/clip-ViT-B-32-vision", "vision")),
        606_000_000,
        "MIT",
        (
            *("clip-vit-b-32", "clip-vit-b/32", "openai/clip-vit-base-patch32"),
            *("clip-vit-base-patch32", "ViT-B-32__openai", "immich-app/ViT-B-32__openai"),
        ),
    ),
    KnownModel(TINY, 512, "English, drawn shapes", size=3_000_000, licence="Apache-2.0"),
    KnownModel(
        "ViT-L/14",
        768,
        "English",
        (Part("immich-app/ViT-L-14__openai"),),
        1_715_000_000,
        "MIT",
        ("openai/clip-vit-large-patch14", "clip-vit-large-patch14", "clip-vit-l-14"),
    ),
    KnownModel(
        "XLM-Roberta-Large-Vit-B-16Plus",
        640,
        "48 languages",
        (Part("immich-app/XLM-Roberta-Large-Vit-B-16Plus"),),
    ),
    KnownModel(
        "XLM-Roberta-Large-Vit-L-14",
        768,
        "48 languages",
        (Part("immich-app/XLM-Roberta-Large-Vit-L-14"),),
    ),
)


def known_model(name: str) -> KnownModel | None:
    """The known model with this name or alias; None if there is none."""
    return next((model for model in MODELS if model.is_called(name)), None)
