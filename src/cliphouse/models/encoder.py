"""The encoder: words and pictures into unit vectors of one space (CLIP, Radford et al. 2021)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cliphouse.errors import ModelError
from cliphouse.models.registry import DEFAULT_MODEL, ModelSpec, Tower, model_spec, tower_folder

BATCH = 32
_THIN = 8  # longer than so many times its width, a picture is cropped before it is scaled

# fastembed's names for its CLIP loaders; every model here has the same file layout, so both serve
# for all of them.
_TEXT_LOADER = "Qdrant/clip-ViT-B-32-text"
_VISION_LOADER = "Qdrant/clip-ViT-B-32-vision"


class Encoder(Protocol):
    """Words and pictures to vectors: float32, shape (n, dim), each of length 1."""

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]: ...

    def encode_image(self, images: Sequence[Image.Image]) -> NDArray[np.float32]: ...

    def shrink(self, image: Image.Image) -> Image.Image: ...


class ClipEncoder:
    """A CLIP model of two ONNX files, each found and loaded through fastembed when first used.

    ``folder`` is where the model's files lie offline. ``threads`` limits ONNX Runtime's threads in
    one tower; None takes all cores. The methods raise ModelError where files are missing or
    damaged.
    """

    def __init__(
        self, spec: ModelSpec, folder: str | None = None, threads: int | None = None
    ) -> None:
        self.name = spec.name
        self.dim = spec.dim
        self._spec = spec
        self._folder = folder
        self._threads = threads

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of ``texts``, shape (len(texts), dim), float32, unit length.

        Words past the model's context (77 tokens for CLIP) are left out, as CLIP does.
        """
        return self._unit(self._text.embed(list(texts), batch_size=BATCH), len(texts))

    def encode_image(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Vectors of RGB ``images``, shape (len(images), dim), float32, unit length."""
        return self._unit(self._vision.embed(list(images), batch_size=BATCH), len(images))

    def shrink(self, image: Image.Image) -> Image.Image:
        """The picture at the model's own scale: ``encode_image`` gives it the same vector.

        Done while pictures are being read, it keeps a batch of large photographs small.
        """
        from fastembed.image.transform.functional import resize

        # The model sees the central square; scaled up whole, a thin picture would take gigabytes.
        short, long = sorted(image.size)
        if long > _THIN * short:
            left = max(0, (image.width - _THIN * short) // 2)
            top = max(0, (image.height - _THIN * short) // 2)
            image = image.crop((left, top, image.width - left, image.height - top))
        return resize(image, self._shortest_edge, Image.Resampling.BICUBIC)

    def _unit(self, vectors: Iterable[Any], count: int) -> NDArray[np.float32]:
        if count == 0:
            return np.empty((0, self.dim), np.float32)
        rows = np.stack(list(vectors)).astype(np.float32)
        if rows.shape[1] != self.dim:
            raise ModelError(
                f"model {self.name}: its files give {rows.shape[1]} dimensions where {self.dim} "
                "are expected; are these the right files?"
            )
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    @cached_property
    def _shortest_edge(self) -> int:
        folder = tower_folder(self._spec, self._spec.vision, self._folder)
        size = json.loads((folder / "preprocessor_config.json").read_text())["size"]
        return int(size["shortest_edge"] if isinstance(size, dict) else size)

    @cached_property
    def _text(self) -> Any:
        return self._load("TextEmbedding", _TEXT_LOADER, self._spec.text)

    @cached_property
    def _vision(self) -> Any:
        return self._load("ImageEmbedding", _VISION_LOADER, self._spec.vision)

    def _load(self, loader: str, name: str, tower: Tower) -> Any:
        import fastembed  # takes half a second, which a search by vector or id can do without
        from loguru import logger

        logger.disable("fastembed")
        folder = tower_folder(self._spec, tower, self._folder)
        try:
            return getattr(fastembed, loader)(
                name, specific_model_path=str(folder), threads=self._threads
            )
        # ONNX Runtime and tokenizers raise bare Exception types of their own for damaged files.
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or repr(error)
            raise ModelError(f"{folder}: the model cannot be loaded: {reason}") from error


def load_encoder(
    name: str = DEFAULT_MODEL, folder: str | None = None, threads: int | None = None
) -> ClipEncoder:
    """The encoder called ``name``: ``ViT-B/32``, the one under LAION's data, or ``tiny``.

    ``folder`` is where ViT-B/32's files lie offline (also CLIPHOUSE_MODELS in the environment).

    Raises ModelError where there is no such model. Its files are looked for on first use.
    """
    return ClipEncoder(model_spec(name), folder, threads)
