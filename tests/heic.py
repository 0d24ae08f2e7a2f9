"""HEIC files, as telephones write them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def write_heic(path: Path, image: Image.Image) -> None:
    """By pillow-heif, which encodes what cliphouse's own library only decodes."""
    import pillow_heif

    pillow_heif.from_pillow(image).save(path)
