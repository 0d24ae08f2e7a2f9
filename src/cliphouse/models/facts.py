"""What an encoder has to know about a model, whatever the layout of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Cleaning = Literal["none", "whitespace", "lower", "canonicalize"]
Resize = Literal["crop", "squash"]


@dataclass(frozen=True)
class TextFacts:
    """The text tower. ``network`` is its ONNX file, ``tokenizer`` its tokenizer.json.

    Texts are cut at ``context`` tokens. A shorter one is filled with ``pad_token`` (``pad_id``, or
    the tokenizer's own number of it) up to the longest of its batch; up to the context if
    ``is_filled``, for a model that was trained so and cannot tell padding from words.

    ``special_tokens`` are words that stand for a token of their own in any text.
    """

    network: Path
    tokenizer: Path
    context: int
    pad_token: str
    pad_id: int | None = None
    cleaning: Cleaning = "none"
    is_filled: bool = False
    special_tokens: tuple[object, ...] = ()


@dataclass(frozen=True)
class VisionFacts:
    """The image tower. ``network`` is its ONNX file, which takes squares of ``size`` pixels.

    ``crop`` scales the shorter edge to ``edge`` pixels and takes the square in the middle;
    ``squash`` scales the whole picture to the square. ``resampling`` is Pillow's number. A colour
    value from 0 to 255 becomes (value * ``scale`` - ``mean``) / ``std``.
    """

    network: Path
    size: int
    edge: int
    resize: Resize
    resampling: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1 / 255
