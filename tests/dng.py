"""A RAW photograph, made by hand: a DNG with a sensor's values, and a preview if it is given one.

It stands in for files of cameras, which nobody may hand on. LibRaw reads it as one of those.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 10: 8}
_FORMATS = {1: "B", 2: "B", 3: "H", 4: "I"}
_XYZ_TO_SRGB = (3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572)
Entry = tuple[int, tuple[int, ...] | bytes]  # type and values
LEFT_UP = 8  # an orientation of EXIF: to be turned by 90 degrees counter-clockwise


def write_dng(
    path: Path, colour: tuple[int, int, int], preview: Image.Image | None = None, turn: int = 1
) -> None:
    """A sensor of 320 x 240 pixels that has seen one colour."""
    width, height = 320, 240
    mosaic = np.empty((height, width), "<u2")
    red, green, blue = (value * 200 for value in colour)
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = red, blue
    mosaic[0::2, 1::2] = mosaic[1::2, 0::2] = green
    camera: dict[int, Entry] = {
        271: (2, b"Cliphouse\0"),
        272: (2, b"Standin 1\0"),
        274: (3, (turn,)),
        306: (2, b"2024:05:06 07:08:09\0"),
        50706: (1, (1, 4, 0, 0)),
        50708: (2, b"Cliphouse Standin 1\0"),
        # XYZ to the camera's colours: those of sRGB.
        50721: (
            10,
            _fractions(3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572),
        ),
        50728: (5, _fractions(1, 1, 1)),
        50778: (3, (21,)),
    }
    sensor: dict[int, Entry] = {
        254: (4, (0,)),
        256: (4, (width,)),
        257: (4, (height,)),
        258: (3, (16,)),
        259: (3, (1,)),
        262: (3, (32803,)),
        277: (3, (1,)),
        278: (4, (height,)),
        33421: (3, (2, 2)),
        33422: (1, (0, 1, 1, 2)),
        50714: (3, (0,)),
        50717: (4, (65_535,)),
    }
    data = mosaic.tobytes()
    if preview is None:
        path.write_bytes(_tiff([({**camera, **sensor}, data)]))
        return
    jpeg = io.BytesIO()
    preview.save(jpeg, "JPEG", quality=95)
    shown: dict[int, Entry] = {
        254: (4, (1,)),
        256: (4, (preview.width,)),
        257: (4, (preview.height,)),
        258: (3, (8, 8, 8)),
        259: (3, (7,)),
        262: (3, (6,)),
        277: (3, (3,)),
        278: (4, (preview.height,)),
    }
    path.write_bytes(_tiff([({**camera, **shown}, jpeg.getvalue()), (sensor, data)]))


def _fractions(*values: float) -> tuple[int, ...]:
    return tuple(part for value in values for part in (round(value * 10_000), 10_000))


def _tiff(images: list[tuple[Mapping[int, Entry], bytes]]) -> bytes:
    """A TIFF whose first directory has the second as its sub-image."""
    out = bytearray(b"II*\0\0\0\0\0")
    strips = []
    for _, data in images:
        strips.append((len(out), len(data)))
        out += data + b"\0" * (-len(data) % 4)
    offset = 0
    for (entries, _), (start, length) in reversed(list(zip(images, strips, strict=True))):
        full: dict[int, Entry] = {**entries, 273: (4, (start,)), 279: (4, (length,))}
        if offset:
            full[330] = (4, (offset,))
        offset = _directory(out, full)
    struct.pack_into("<I", out, 4, offset)
    return bytes(out)


def _directory(out: bytearray, entries: Mapping[int, Entry]) -> int:
    """Write a directory and the values that it has no room for; returns where it begins."""
    table = struct.pack("<H", len(entries))
    for tag, (kind, values) in sorted(entries.items()):
        raw = values if isinstance(values, bytes) else _packed(kind, values)
        count = len(raw) // _SIZES[kind]
        if len(raw) > 4:
            place = len(out)
            out += raw + b"\0" * (-len(raw) % 4)
            raw = struct.pack("<I", place)
        table += struct.pack("<HHI", tag, kind, count) + raw.ljust(4, b"\0")
    start = len(out)
    out += table + b"\0\0\0\0"
    return start


def _packed(kind: int, values: tuple[int, ...]) -> bytes:
    letter = {5: "I", 10: "i"}.get(kind) or _FORMATS[kind]
    return struct.pack(f"<{len(values)}{letter}", *values)
