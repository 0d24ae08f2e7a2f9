"""Which files are taken for pictures: their suffixes, and the largest that is opened."""

from __future__ import annotations

MAX_PIXELS = 89_478_485  # Pillow's own limit, a quarter of a gigabyte of RGB
SUFFIXES = frozenset(
    (*(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp"), ".tif", ".tiff", ".avif", ".ppm")
)
