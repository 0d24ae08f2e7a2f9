"""Puts a picture onto the screen, at the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cliphouse.cli.terminal.protocols import iterm2, kitty, sixel
from cliphouse.cli.terminal.screen import Protocol, Screen

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console


def paint(image: Image.Image, columns: int, rows: int, screen: Screen, console: Console) -> None:
    """Show ``image`` over ``columns`` x ``rows`` characters; the cursor is on the line below then.

    It has the pixels that these characters have on ``screen``.
    """
    if screen.protocol is Protocol.BLOCKS:
        from cliphouse.cli.terminal.blocks import blocks, shades

        is_coloured = console.color_system is not None and not console.no_color
        console.print((blocks if is_coloured else shades)(image, columns, rows))
        return
    console.file.write(_framed(_spelled(image, columns, rows, screen.protocol), rows))
    console.file.flush()


def _spelled(image: Image.Image, columns: int, rows: int, protocol: Protocol) -> str:
    if protocol is Protocol.KITTY:
        return kitty(image, columns, rows)
    return iterm2(image, columns, rows) if protocol is Protocol.ITERM2 else sixel(image)


def _framed(picture: str, rows: int) -> str:
    """Make room for the rows first, since terminals differ in how they scroll for a picture and in
    where they leave the cursor."""
    room = "\n" * rows
    return f"{room}\x1b[{rows}A\x1b7{picture}\x1b8\x1b[{rows}B\r"
