"""The layout of the immich project's models: textual/, visual/ and config.json.

Each is a repository immich-app/NAME of the Hugging Face hub: an open_clip model (or one of M-CLIP)
exported to ONNX. config.json is open_clip's description of the model, visual/preprocess_cfg.json
that of its preprocessing. What its keys mean, and which value holds if one is absent, is
open_clip's.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

from cliphouse.models.facts import Cleaning, Resize, TextFacts, VisionFacts
from cliphouse.models.json_file import JsonFile
from cliphouse.models.layouts.layout import Layout, insist_on, network_file, pad_token

_CONTEXT = 77  # tokens of a model whose text_cfg does not say
_RESIZE: dict[str, Resize] = {"shortest": "crop", "squash": "squash"}
# Pillow's numbers by the names of its resamplings
_RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def text_facts(folder: Path) -> TextFacts:
    """The facts of the text tower of a model's folder."""
    tower = folder / "textual"
    network = network_file(tower, "model")
    insist_on(tower, "tokenizer.json", "tokenizer_config.json")
    insist_on(folder, "config.json")
    config = JsonFile.read(folder / "config.json").part("text_cfg")
    return TextFacts(
        network,
        tower / "tokenizer.json",
        config.count("context_length") if config.has("context_length") else _CONTEXT,
        pad_token(JsonFile.read(tower / "tokenizer_config.json")),
        cleaning=_cleaning(config.part("tokenizer_kwargs")),
        is_filled=True,
    )


def _cleaning(options: JsonFile) -> Cleaning:
    if options.has("strip_sep_token") and options.flag("strip_sep_token"):
        raise options.wrong("strip_sep_token", "is not supported")
    if not options.has("clean"):
        return "whitespace"
    cleaning = options.text("clean")
    if cleaning == "none" or cleaning not in get_args(Cleaning):
        raise options.wrong("clean", "is none of whitespace, lower and canonicalize")
    return cast(Cleaning, cleaning)


def vision_facts(folder: Path) -> VisionFacts:
    """The facts of the image tower of a model's folder."""
    tower = folder / "visual"
    network = network_file(tower, "model")
    insist_on(tower, "preprocess_cfg.json")
    said = JsonFile.read(tower / "preprocess_cfg.json")
    mode = said.text("resize_mode") if said.has("resize_mode") else "shortest"
    if mode not in _RESIZE:
        raise said.wrong("resize_mode", f"is none of {', '.join(_RESIZE)}")
    interpolation = said.text("interpolation")
    if interpolation not in _RESAMPLING:
        raise said.wrong("interpolation", f"is none of {', '.join(_RESAMPLING)}")
    size = _size(said)
    return VisionFacts(
        network,
        size,
        size,
        _RESIZE[mode],
        _RESAMPLING[interpolation],
        said.three("mean"),
        said.three("std"),
    )


def _size(said: JsonFile) -> int:
    size = said.values.get("size")
    if not isinstance(size, list):
        return said.count("size")
    if len(set(map(str, size))) != 1 or not isinstance(size[0], int):
        raise said.wrong("size", "is not a square")
    return size[0]


LAYOUT = Layout(
    name="immich's",
    looks="textual/, visual/ and config.json",
    recognises=lambda folder: (folder / "textual").is_dir() or (folder / "visual").is_dir(),
    text=text_facts,
    vision=vision_facts,
    dim=lambda folder: JsonFile.read(folder / "config.json").count("embed_dim"),
)
