"""The encoder: words and pictures to unit vectors in one space (CLIP, Radford et al. 2021)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cliphouse.errors import ModelError
from cliphouse.models.registry import DEFAULT_MODEL, ModelSpec, Tower, model_spec, tower_folder
from cliphouse.models.text_tower import TextTower

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

BATCH = 32
_MAX_ASPECT = 8  # a picture of a larger aspect ratio is cropped before it is scaled

# The name of fastembed's loader of CLIP's image encoder. All models here have the same file layout,
# so it loads every model.
_VISION_LOADER = "Qdrant/clip-ViT-B-32-vision"

_Tower = TypeVar("_Tower")


class Encoder(Protocol):
    """Encodes words and pictures: float32 of shape (n, dim), each row of length 1."""

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]: ...

    def encode_image(self, images: Sequence[Image.Image]) -> NDArray[np.float32]: ...

    def shrink(self, image: Image.Image) -> Image.Image: ...


class ClipEncoder:
    """A CLIP model of two ONNX files, each loaded at its first use.

    ``folder`` is the local folder of the model's files. ``threads`` limits ONNX Runtime's threads
    in one tower; None uses all cores. The methods raise ModelError if files are missing or damaged.
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
        """Encode ``texts``: float32 of shape (len(texts), dim), each row of length 1.

        Words beyond the model's context (77 tokens for CLIP) are ignored, as CLIP does.
        """
        return self._unit(self._text.embed(texts, BATCH), len(texts))

    def encode_image(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Encode RGB ``images``: float32 of shape (len(images), dim), each row of length 1."""
        rows = self._vision.embed(list(images), batch_size=BATCH)
        return self._unit((row[None] for row in rows), len(images))

    def shrink(self, image: Image.Image) -> Image.Image:
        """Scale a picture to the model's size; ``encode_image`` gives it the same vector.

        Scaling each picture when it is read keeps a batch of large photographs small in memory.
        """
        from fastembed.image.transform.functional import resize
        from PIL import Image

        # The model sees only the central square. A very long picture, scaled as a whole, would take
        # gigabytes.
        short, long = sorted(image.size)
        if long > _MAX_ASPECT * short:
            left = max(0, (image.width - _MAX_ASPECT * short) // 2)
            top = max(0, (image.height - _MAX_ASPECT * short) // 2)
            image = image.crop((left, top, image.width - left, image.height - top))
        return resize(image, self._shortest_edge, Image.Resampling.BICUBIC)

    def _unit(self, batches: Iterable[Any], count: int) -> NDArray[np.float32]:
        import numpy as np

        if count == 0:
            return np.empty((0, self.dim), np.float32)
        rows: NDArray[np.float32] = np.concatenate(list(batches)).astype(np.float32)
        if rows.shape[1] != self.dim:
            raise ModelError(
                f"model {self.name}: its files give {rows.shape[1]} dimensions instead of "
                f"{self.dim}; are these the right files?"
            )
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    @cached_property
    def _shortest_edge(self) -> int:
        folder = tower_folder(self._spec, self._spec.vision, self._folder)
        size = json.loads((folder / "preprocessor_config.json").read_text())["size"]
        return int(size["shortest_edge"] if isinstance(size, dict) else size)

    @cached_property
    def _text(self) -> TextTower:
        threads = self._threads or self._spec.text.threads
        return self._load(self._spec.text, lambda folder: TextTower(folder, threads))

    @cached_property
    def _vision(self) -> Any:
        return self._load(self._spec.vision, self._open_vision)

    def _open_vision(self, folder: Path) -> Any:
        import fastembed  # takes a quarter of a second; a search by words or id does not need it
        from loguru import logger

        logger.disable("fastembed")
        return fastembed.ImageEmbedding(
            _VISION_LOADER, specific_model_path=str(folder), threads=self._threads
        )

    def _load(self, tower: Tower, load: Callable[[Path], _Tower]) -> _Tower:
        folder = tower_folder(self._spec, tower, self._folder)
        try:
            return load(folder)
        # ONNX Runtime and tokenizers raise bare Exception types of their own for damaged files.
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or repr(error)
            raise ModelError(f"{folder}: the model cannot be loaded: {reason}") from error


def load_encoder(
    name: str = DEFAULT_MODEL, folder: str | None = None, threads: int | None = None
) -> ClipEncoder:
    """The encoder called ``name``: ``ViT-B/32``, the model of LAION's embeddings, or ``tiny``.

    ``folder`` is a local folder with ViT-B/32's files (or the environment's CLIPHOUSE_MODELS).
    The files are opened at the first use.

    Raises ModelError if there is no such model.
    """
    return ClipEncoder(model_spec(name), folder, threads)
