"""The encoder: words and pictures to unit vectors in one space (CLIP, Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from cliphouse.errors import ModelError
from cliphouse.models.devices import Device
from cliphouse.models.facts import VisionFacts
from cliphouse.models.model_files import ModelFiles, find_model
from cliphouse.models.network import Network
from cliphouse.models.registry import DEFAULT_MODEL, TINY
from cliphouse.models.text_tower import TextTower

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from cliphouse.models.vision_tower import VisionTower

_BATCH = 32  # texts
_DECODING = 1.5  # scaled pictures then differ by 0.9 of 255 (49 dB), as by JPEG of quality 75
# Words of the tiny model take 0.1 ms on one thread, and starting a second takes 30 ms of CPU.
_TINY_THREADS = 1


class Encoder(Protocol):
    """Encodes words and pictures: float32 of shape (n, dim), each row of length 1."""

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def decoding_edge(self) -> int: ...

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]: ...

    def encode_image(self, images: Sequence[Image.Image]) -> NDArray[np.float32]: ...

    def shrink(self, image: Image.Image) -> Image.Image: ...


class ClipEncoder:
    """A CLIP model of two ONNX files, each loaded at its first use.

    ``threads`` limits ONNX Runtime's threads in one tower; None uses all cores. The methods raise
    ModelError if files are missing, damaged or do not fit one another, or the device is not there.
    """

    def __init__(
        self, files: ModelFiles, threads: int | None = None, device: Device = "auto"
    ) -> None:
        self.name = files.name
        self._files = files
        self._threads = threads
        self._device = device

    @cached_property
    def dim(self) -> int:
        """The dimension of the vectors."""
        dim = self._files.dim() or self._text.network.dim or self._vision.network.dim
        if dim is None:
            raise ModelError(f"model {self.name}: no file says the dimension of its vectors")
        return dim

    @property
    def decoding_edge(self) -> int:
        """Pixels of a picture's shorter edge from which it may be scaled for the model: a JPEG is
        decoded faster if it is not larger."""
        return int(_DECODING * self._vision_facts.edge)

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode ``texts``: float32 of shape (len(texts), dim), each row of length 1.

        Words beyond the model's context (77 tokens for CLIP) are ignored, as CLIP does.
        """
        if not texts:
            return self._nothing()
        return self._unit(self._text.embed(texts, _BATCH), self._text.network)

    def encode_image(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Encode RGB ``images``: float32 of shape (len(images), dim), each row of length 1."""
        if not images:
            return self._nothing()
        return self._unit(self._vision.embed(images), self._vision.network)

    def shrink(self, image: Image.Image) -> Image.Image:
        """Scale a picture to the model's size; ``encode_image`` gives it the same vector.

        Scaling each picture when it is read keeps a batch of large photographs small in memory.
        """
        from cliphouse.models.vision_tower import shrink

        return shrink(image, self._vision_facts)

    def _nothing(self) -> NDArray[np.float32]:
        import numpy as np

        return np.empty((0, self.dim), np.float32)

    def _unit(
        self, batches: Iterable[NDArray[np.float32]], network: Network
    ) -> NDArray[np.float32]:
        import numpy as np

        rows: NDArray[np.float32] = np.concatenate(list(batches))
        if rows.shape[1] != self.dim:
            raise ModelError(
                f"{network.path}: gives {rows.shape[1]} dimensions instead of the {self.dim} of "
                f"model {self.name}; are these the right files?"
            )
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ModelError(f"{network.path}: gave a vector without a direction")
        rows /= lengths
        return rows

    @cached_property
    def _vision_facts(self) -> VisionFacts:
        return self._files.vision()

    @cached_property
    def _text(self) -> TextTower:
        facts = self._files.text()
        threads = self._threads or (_TINY_THREADS if self.name == TINY else None)
        return TextTower(facts, Network(facts.network, self._device, threads))

    @cached_property
    def _vision(self) -> VisionTower:
        from cliphouse.models.vision_tower import VisionTower

        facts = self._vision_facts
        return VisionTower(facts, Network(facts.network, self._device, self._threads))


def load_encoder(
    name: str = DEFAULT_MODEL,
    folder: str | None = None,
    threads: int | None = None,
    device: Device = "auto",
) -> ClipEncoder:
    """The encoder called ``name``: a known model (``cliphouse models`` lists them), the path of a
    folder of model files, or the name of one in ``folder`` (or the environment's
    CLIPHOUSE_MODELS). The files are opened at the first use.

    Raises ModelError if there is no such model, or it is not on this machine.
    """
    return ClipEncoder(find_model(name, folder), threads, device)
