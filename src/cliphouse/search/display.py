"""Hits as a notebook shows them, and as a contact sheet: pictures with scores and captions."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cliphouse.errors import PictureError

if TYPE_CHECKING:
    from PIL import Image


MOST_PICTURES = 60  # of some 6 kB each, which a notebook keeps
_PIXELS = 160
_LONGEST = 300  # characters of a caption
_WEB = ("https://", "http://")
_BOX = f"width:{_PIXELS}px;height:{_PIXELS}px;object-fit:contain;background:#8882"


class Found(Protocol):
    """A hit: its score, and its columns with their values."""

    @property
    def score(self) -> float: ...
    @property
    def values(self) -> Mapping[str, Any]: ...


def hits_html(hits: Iterable[Found]) -> str:
    """The first MOST_PICTURES hits side by side, as HTML without scripts.

    Local pictures are in the text as thumbnails; those of the web are loaded by the browser. What
    the rows hold is escaped.
    """
    listed = list(hits)
    figures = "".join(_figure(hit) for hit in listed[:MOST_PICTURES])
    more = len(listed) - MOST_PICTURES
    note = f"<p>and {more:,} more</p>" if more > 0 else ""
    style = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start"
    return f'<div style="{style}">{figures}</div>{note}'


def sheet_of(hits: Iterable[Found], title: str) -> Image.Image:
    """A contact sheet of the hits whose pictures are local files, in their order. Raises
    PictureError if none is."""
    from cliphouse.pictures.sheet import Cell, contact_sheet

    cells = [
        Cell(image, f"{hit.score:.3f}", str(hit.values.get("caption") or ""))
        for hit, image in _local(hits)
    ]
    if not cells:
        raise PictureError("no hit has a picture in a local file: there is nothing to show")
    return contact_sheet(title, cells)


def _figure(hit: Found) -> str:
    caption = str(hit.values.get("caption") or "")
    shown = caption if len(caption) <= _LONGEST else caption[:_LONGEST] + "…"
    return (
        f'<figure style="width:{_PIXELS}px;margin:0;font-size:13px">{_picture(hit, shown)}'
        f"<figcaption><b>{hit.score:.3f}</b> {escape(shown)}</figcaption></figure>"
    )


def _picture(hit: Found, caption: str) -> str:
    url = str(hit.values.get("url") or "")
    if not url.lower().startswith(_WEB):
        image = _open(url)
        if image is None:
            return f'<div style="{_BOX}" title="{escape(url)}"></div>'
        url = _data_url(image)
    return (
        f'<img src="{escape(url)}" alt="{escape(caption)}" loading="lazy" '
        f'referrerpolicy="no-referrer" style="{_BOX}">'
    )


def _data_url(image: Image.Image) -> str:
    image.thumbnail((_PIXELS, _PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _local(hits: Iterable[Found]) -> Iterator[tuple[Found, Image.Image]]:
    for hit in hits:
        image = _open(str(hit.values.get("url") or ""))
        if image is not None:
            yield hit, image


def _open(url: str) -> Image.Image | None:
    """The picture in a local file; None if there is none."""
    from cliphouse.pictures.files import open_picture

    try:
        path = Path(url)
        return open_picture(path) if path.is_file() else None
    except (PictureError, OSError, ValueError):
        return None
