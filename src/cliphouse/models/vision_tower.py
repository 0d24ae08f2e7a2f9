"""An image tower: pictures to vectors, by the facts of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cliphouse.errors import ModelError
from cliphouse.models.facts import VisionFacts
from cliphouse.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

BATCH = 32
# Bytes of a network's working memory for each byte of its input: what ViT-L/14 takes at 336 pixels.
_NETWORK_BYTES = 48
_MAX_ASPECT = 8  # a picture of a larger aspect ratio is cropped before it is scaled


class VisionTower:
    """The image tower of a model, loaded. Raises ModelError if the network does not take the
    pictures that the facts describe."""

    def __init__(self, facts: VisionFacts, network: Network) -> None:
        self.network = network
        self._facts = facts
        if len(network.inputs) != 1:
            raise ModelError(
                f"{network.path}: unknown inputs {', '.join(network.inputs)}; a picture gives one"
            )
        ((self._pixels, node),) = network.inputs.items()
        square = (3, facts.size, facts.size)
        takes = node.shape[1:]
        if len(takes) != 3 or any(a not in (None, b) for a, b in zip(takes, square, strict=True)):
            raise ModelError(
                f"{network.path}: input {self._pixels} has shape {list(node.shape)}, but the "
                f"model's files say pictures of {facts.size} x {facts.size} pixels"
            )

    def embed(self, images: Sequence[Image.Image]) -> Iterator[NDArray[np.float32]]:
        """The vectors of RGB ``images`` in batches that fit the memory: float32 of shape
        (rows, dim), of any length."""
        batch = pictures_at_once(self._facts.size)
        for start in range(0, len(images), batch):
            yield self.network.run(
                {self._pixels: pixels(images[start : start + batch], self._facts)}
            )


def pictures_at_once(size: int) -> int:
    """How many pictures of ``size`` pixels an edge a network may take together: up to BATCH, and
    what needs at most a quarter of the memory that is available."""
    import psutil

    each = 3 * size * size * 4 * _NETWORK_BYTES
    available: int = psutil.virtual_memory().available
    return max(1, min(BATCH, available // 4 // each))


def shrink(image: Image.Image, facts: VisionFacts) -> Image.Image:
    """Scale a picture as the model wants it. Scaling it again changes nothing."""
    if facts.resize == "squash":
        return image.resize((facts.size, facts.size), facts.resampling)
    # The model sees only the central square. A very long picture, scaled as a whole, would take
    # gigabytes.
    short, long = sorted(image.size)
    if long > _MAX_ASPECT * short:
        left = max(0, (image.width - _MAX_ASPECT * short) // 2)
        top = max(0, (image.height - _MAX_ASPECT * short) // 2)
        image = image.crop((left, top, image.width - left, image.height - top))
        short, long = sorted(image.size)
    scaled = int(facts.edge * long / short)
    size = (facts.edge, scaled) if image.width <= image.height else (scaled, facts.edge)
    return image.resize(size, facts.resampling)


def pixels(images: Sequence[Image.Image], facts: VisionFacts) -> NDArray[np.float32]:
    """The network's input: float32 of shape (len(images), 3, size, size)."""
    import numpy as np

    values = np.arange(256) * facts.scale
    colours = [
        (values.astype(np.float32) - np.float32(mean)) / np.float32(std)
        for mean, std in zip(facts.mean, facts.std, strict=True)
    ]
    made = np.empty((len(images), 3, facts.size, facts.size), np.float32)
    for place, image in zip(made, images, strict=True):
        square = np.asarray(_middle(shrink(image, facts), facts.size))
        for channel, colour in enumerate(colours):
            np.take(colour, square[:, :, channel], out=place[channel])
    return made


def _middle(image: Image.Image, size: int) -> Image.Image:
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))
