"""A contact sheet: the pictures of a search side by side, with their captions."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

_CELL = 200
_GAP = 16
_TEXT_LINES = 2
_LINE = 20
_HEAD = 64
_PER_ROW = 5
_WRAP = 26
_PAPER, _INK, _QUIET = "#ffffff", "#1c2024", "#6b7280"


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet; ``note`` is a short line above its caption."""

    image: Image.Image
    note: str
    caption: str


def contact_sheet(
    title: str, cells: Sequence[Cell], query: Image.Image | None = None
) -> Image.Image:
    """Draw a sheet as an RGB image: the ``query`` picture if there is one, ``title``, the cells."""
    rows = max(1, -(-len(cells) // _PER_ROW))
    head = _HEAD if query is None else _CELL + 2 * _GAP
    row_height = _CELL + (_TEXT_LINES + 1) * _LINE + _GAP
    size = (_PER_ROW * (_CELL + _GAP) + _GAP, head + rows * row_height + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    left = _GAP
    if query is not None:
        sheet.paste(_fit(query), (left, _GAP))
        left += _CELL + _GAP
    draw.text((left, head // 2), title, fill=_INK, font=_font(26), anchor="lm")
    for index, cell in enumerate(cells):
        x = _GAP + index % _PER_ROW * (_CELL + _GAP)
        y = head + index // _PER_ROW * row_height
        sheet.paste(_fit(cell.image), (x, y))
        draw.text((x, y + _CELL + 4), cell.note, fill=_QUIET, font=_font(14))
        lines = textwrap.wrap(cell.caption, _WRAP, max_lines=_TEXT_LINES, placeholder=" …")
        for number, line in enumerate(lines, 1):
            draw.text((x, y + _CELL + 4 + number * _LINE), line, fill=_INK, font=_font(15))
    return sheet


def _fit(image: Image.Image) -> Image.Image:
    padded = ImageOps.pad(image.convert("RGB"), (_CELL, _CELL), color="#f3f4f6")
    return ImageOps.expand(padded.resize((_CELL - 2, _CELL - 2)), 1, "#d1d5db")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
