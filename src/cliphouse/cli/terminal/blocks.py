"""A picture in characters, for terminals that show nothing else: two pixels in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image
from rich.text import Text

if TYPE_CHECKING:
    from rich.style import Style

_UPPER, _LOWER = "▀", "▄"
_SHADES = " ░▒▓█"
_OPAQUE = 128
_Pixel = tuple[int, ...]


def blocks(image: Image.Image, columns: int, rows: int) -> Text:
    """``image`` over ``columns`` x ``rows`` characters, each an upper and a lower half of its own
    colour."""
    small = _pixels(image, columns, 2 * rows)
    lines = []
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        line = Text()
        for pixels in zip(upper, lower, strict=True):
            line.append(*_halves(*pixels))
        lines.append(line)
    return Text("\n").join(lines)


def shades(image: Image.Image, columns: int, rows: int) -> Text:
    """``image`` over ``columns`` x ``rows`` characters without colours: the lighter a place, the
    fuller its character."""
    grey = [
        "".join(_SHADES[sum(pixel[:3]) * pixel[3] * 5 // (765 * 255 + 1)] for pixel in line)
        for line in _pixels(image, columns, rows)
    ]
    return Text("\n".join(grey))


def _halves(upper: _Pixel, lower: _Pixel) -> tuple[str, Style]:
    from rich.color import Color
    from rich.style import Style

    above, below = (
        Color.from_rgb(*pixel[:3]) if pixel[3] >= _OPAQUE else None for pixel in (upper, lower)
    )
    if above is None:
        return (_LOWER if below else " "), Style(color=below)
    return _UPPER, Style(color=above, bgcolor=below)


def _pixels(image: Image.Image, width: int, height: int) -> list[list[_Pixel]]:
    import numpy as np

    small = image.convert("RGBA").resize((width, height), Image.Resampling.BOX)
    return [[tuple(map(int, pixel)) for pixel in line] for line in np.asarray(small)]
