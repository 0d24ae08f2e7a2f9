"""The layout of fastembed's CLIP models: text/ and vision/, each a folder of its own.

Each is a repository of the Hugging Face hub there, such as Qdrant/clip-ViT-B-32-text, with
model.onnx and the settings that the transformers library writes.
"""

from __future__ import annotations

from pathlib import Path

from cliphouse.errors import ModelError
from cliphouse.models.facts import TextFacts, VisionFacts
from cliphouse.models.json_file import JsonFile
from cliphouse.models.layouts.layout import Layout, insist_on, network_file, pad_token
from cliphouse.models.layouts.transformers_files import read_context, read_vision

TEXT_FILES = ("model.onnx", "tokenizer.json", "tokenizer_config.json")
VISION_FILES = ("model.onnx", "preprocessor_config.json")


def text_facts(folder: Path) -> TextFacts:
    """The facts of the text tower whose files are in ``folder``."""
    insist_on(folder, *TEXT_FILES)
    settings = JsonFile.read(folder / "tokenizer_config.json")
    context = read_context(settings)
    if context is None:
        raise ModelError(f"{settings.path}: has no model_max_length")
    config = JsonFile.read_if_there(folder / "config.json")
    return TextFacts(
        network_file(folder, "model"),
        folder / "tokenizer.json",
        context,
        pad_token(settings),
        config.count("pad_token_id") if config.has("pad_token_id") else None,
        special_tokens=_special_tokens(folder / "special_tokens_map.json"),
    )


def vision_facts(folder: Path) -> VisionFacts:
    """The facts of the image tower whose files are in ``folder``."""
    insist_on(folder, *VISION_FILES)
    return read_vision(folder / "preprocessor_config.json", network_file(folder, "model"))


def _special_tokens(path: Path) -> tuple[object, ...]:
    tokens: list[object] = []
    for value in JsonFile.read_if_there(path).values.values():
        tokens += value if isinstance(value, list) else [value]
    return tuple(tokens)


def _dim(folder: Path) -> int | None:
    for tower in ("text", "vision"):
        config = JsonFile.read_if_there(folder / tower / "config.json")
        if config.has("projection_dim"):
            return config.count("projection_dim")
    return None


LAYOUT = Layout(
    name="fastembed's",
    looks="text/ and vision/",
    recognises=lambda folder: (folder / "text").is_dir() or (folder / "vision").is_dir(),
    text=lambda folder: text_facts(folder / "text"),
    vision=lambda folder: vision_facts(folder / "vision"),
    dim=_dim,
)
