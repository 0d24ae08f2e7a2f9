"""The layouts of model folders: recognising one, and reading it into facts.

A new layout is a file here with its ``LAYOUT``, and its entry in ``LAYOUTS``.
"""

from __future__ import annotations

from pathlib import Path

from cliphouse.errors import ModelError
from cliphouse.models.layouts import fastembed, immich, transformers_js
from cliphouse.models.layouts.layout import Layout

LAYOUTS = (fastembed.LAYOUT, immich.LAYOUT, transformers_js.LAYOUT)

__all__ = ["LAYOUTS", "Layout", "find_layout", "layout_of"]


def find_layout(folder: Path) -> Layout | None:
    """The layout of a folder; None if it is none of a model that we know."""
    return next((layout for layout in LAYOUTS if layout.recognises(folder)), None)


def layout_of(folder: Path) -> Layout:
    """The layout of a folder. Raises ModelError if there is no folder, or no model in it."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder of model files")
    layout = find_layout(folder)
    if layout is None:
        known = "; ".join(f"{layout.name} has {layout.looks}" for layout in LAYOUTS)
        raise ModelError(f"{folder}: no model in a layout that is known ({known})")
    return layout
