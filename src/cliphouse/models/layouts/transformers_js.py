"""The layout of models for transformers.js: onnx/text_model.onnx, onnx/vision_model.onnx.

Such as Xenova/clip-vit-base-patch16 and Xenova/siglip-base-patch16-224 on the Hugging Face hub. The
settings beside onnx/ are those of the transformers library: config.json, tokenizer.json,
tokenizer_config.json and preprocessor_config.json.
"""

from __future__ import annotations

from pathlib import Path

from cliphouse.errors import ModelError
from cliphouse.models.facts import TextFacts, VisionFacts
from cliphouse.models.json_file import JsonFile
from cliphouse.models.layouts.layout import Layout, insist_on, network_file, pad_token
from cliphouse.models.layouts.transformers_files import read_context, read_vision

# CLIP's text tower takes the vector at the end of the text and looks at nothing after it: it is the
# one whose batches need no filling up to the context.
_UNFILLED = ("clip",)


def text_facts(folder: Path) -> TextFacts:
    """The facts of the text tower of a model's folder."""
    network = network_file(folder / "onnx", "text_model")
    insist_on(folder, "config.json", "tokenizer.json", "tokenizer_config.json")
    config = JsonFile.read(folder / "config.json")
    settings = JsonFile.read(folder / "tokenizer_config.json")
    return TextFacts(
        network,
        folder / "tokenizer.json",
        _context(settings, config.part("text_config")),
        pad_token(settings),
        is_filled=config.text("model_type") not in _UNFILLED,
    )


def _context(settings: JsonFile, text_config: JsonFile) -> int:
    context = read_context(settings)
    if context is not None:
        return context
    if text_config.has("max_position_embeddings"):
        return text_config.count("max_position_embeddings")
    raise ModelError(
        f"{settings.path}: has no model_max_length, and {text_config.path} no "
        f"{text_config.within}max_position_embeddings"
    )


def vision_facts(folder: Path) -> VisionFacts:
    """The facts of the image tower of a model's folder."""
    network = network_file(folder / "onnx", "vision_model")
    insist_on(folder, "preprocessor_config.json")
    return read_vision(folder / "preprocessor_config.json", network)


def _dim(folder: Path) -> int | None:
    """SigLIP's config.json has none: there the networks say it."""
    config = JsonFile.read_if_there(folder / "config.json")
    return config.count("projection_dim") if config.has("projection_dim") else None


LAYOUT = Layout(
    name="that of transformers.js",
    looks="onnx/text_model.onnx and onnx/vision_model.onnx",
    recognises=lambda folder: (folder / "onnx").is_dir(),
    text=text_facts,
    vision=vision_facts,
    dim=_dim,
)
