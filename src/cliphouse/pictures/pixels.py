"""Pictures of any kind of pixel as RGB with 8 bits a channel."""

from __future__ import annotations

import numpy as np
from PIL import Image

_TOPS = (255, 1023, 4095, 16383, 65535)  # the largest values of 8, 10, 12, 14 and 16 bits


def as_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB, with transparency on white.

    Grey values of more than 8 bits, whole or float, are scaled by their range: to the smallest of
    8, 10, 12, 14 and 16 bits that holds all of them, floats from 0 to 1 as they are, and everything
    else from its lowest to its highest value.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = _as_bytes(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _as_bytes(image: Image.Image) -> Image.Image:
    values = np.array(image, np.float32)
    finite = np.isfinite(values)
    low, high = _range(values[finite], is_whole=image.mode != "F")
    np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    values -= low
    values *= 255 / (high - low)
    np.rint(values, out=values)
    return Image.fromarray(values.clip(0, 255, out=values).astype(np.uint8))


def _range(values: np.ndarray, is_whole: bool) -> tuple[float, float]:
    """The values that become black and white."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    tops = _TOPS if is_whole else (1, 255)
    for top in tops:
        if low >= 0 and high <= top:
            return 0.0, float(top)
    return low, max(high, float(np.nextafter(np.float32(low), np.float32(np.inf))))
