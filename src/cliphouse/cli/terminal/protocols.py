"""A picture as the text that makes a terminal show it, in kitty's, iTerm2's and DEC's way."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator

from PIL import Image

_CHUNK = 4096
_LONG_RUN = re.compile(r"(.)\1{3,}")
_COLOURS = 256
_BAND = 6  # pixels one below the other, in one character of a sixel


def kitty(image: Image.Image, columns: int, rows: int) -> str:
    """``image`` over ``columns`` x ``rows`` characters, in the graphics protocol of kitty: a PNG in
    pieces. The cursor stays, and the terminal sends no answer."""
    data = _png(image)
    pieces = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    keys = [f"a=T,f=100,q=2,C=1,c={columns},r={rows},", *[""] * (len(pieces) - 1)]
    more = [1] * (len(pieces) - 1) + [0]
    return "".join(
        f"\x1b_G{key}m={is_more};{piece}\x1b\\"
        for key, is_more, piece in zip(keys, more, pieces, strict=True)
    )


def iterm2(image: Image.Image, columns: int, rows: int) -> str:
    """``image`` over ``columns`` x ``rows`` characters, in the protocol of iTerm2: a PNG."""
    data = _png(image)
    size = len(base64.b64decode(data))
    return (
        f"\x1b]1337;File=inline=1;size={size};width={columns};height={rows};"
        f"preserveAspectRatio=0:{data}\x07"
    )


def sixel(image: Image.Image) -> str:
    """``image`` in its own pixels and up to 256 colours, as DEC's terminals take it. What is
    transparent keeps what the terminal shows there."""
    import numpy as np

    opaque = np.asarray(image.convert("RGBA"))[:, :, 3] >= 128
    reduced = image.convert("RGB").quantize(_COLOURS)
    palette = reduced.getpalette() or []
    pixels = np.asarray(reduced)

    def bands() -> Iterator[str]:
        for top in range(0, image.height, _BAND):
            band, is_shown = pixels[top : top + _BAND], opaque[top : top + _BAND]
            bits = (1 << np.arange(len(band), dtype=np.uint8))[:, None]
            layers = []
            for colour in np.unique(band[is_shown]):
                drawn = ((band == colour) & is_shown) * bits
                text = (drawn.sum(axis=0) + ord("?")).astype(np.uint8).tobytes().decode()
                layers.append(f"#{colour}{_LONG_RUN.sub(_run, text.rstrip('?'))}")
            yield "$".join(layers)

    colours = "".join(
        f"#{number};2;{';'.join(str(round(part / 2.55)) for part in palette[start : start + 3])}"
        for number, start in enumerate(range(0, len(palette), 3))
    )
    size = f'"1;1;{image.width};{image.height}'
    return f"\x1bP0;1;0q{size}{colours}{'-'.join(bands())}\x1b\\"


def _run(same: re.Match[str]) -> str:
    return f"!{len(same[0])}{same[1]}"


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
