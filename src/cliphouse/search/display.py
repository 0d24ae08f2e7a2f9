"""Hits as a notebook shows them, and as a contact sheet: pictures with scores and captions; and
the pictures themselves, and what they are called."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from cliphouse.errors import CliphouseError, PictureError
from cliphouse.wording import in_order

if TYPE_CHECKING:
    from PIL import Image


MOST_PICTURES = 60  # of some 6 kB each, which a notebook keeps
_PIXELS = 160
_LONGEST = 300  # characters of a caption
_WEB = ("https://", "http://")
_AT_ONCE = 8  # pictures that are read or fetched at the same time
OPENER = "open" if sys.platform == "darwin" else "xdg-open"
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
    if not listed:
        return "<p>No pictures found</p>"
    figures = "".join(_figure(hit) for hit in listed[:MOST_PICTURES])
    more = len(listed) - MOST_PICTURES
    note = f"<p>and {more:,} more</p>" if more > 0 else ""
    style = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start"
    return f'<div style="{style}">{figures}</div>{note}'


def sheet_of(
    hits: Iterable[Found],
    title: str,
    pictures: Iterable[Image.Image | None] | None = None,
    query: Image.Image | None = None,
) -> Image.Image:
    """A contact sheet of the hits that have a picture, in their order: one of ``pictures``, or a
    local file. The picture that was searched with, ``query``, comes first. Raises PictureError if
    no hit has a picture."""
    from cliphouse.pictures.sheet import Cell, contact_sheet

    listed = list(hits)
    if pictures is None:
        pictures = (_open(str(hit.values.get("url") or "")) for hit in listed)
    cells = [
        Cell(image, f"{hit.score:.3f}", in_order(name_of(hit)))
        for hit, image in zip(listed, pictures, strict=True)
        if image is not None
    ]
    if not cells:
        raise PictureError("no hit has a picture in a local file: there is nothing to show")
    return contact_sheet(title, cells, query)


def save_sheet(sheet: Image.Image) -> Path:
    """Write a contact sheet to a new temporary file."""
    handle, name = tempfile.mkstemp(prefix="cliphouse-", suffix=".png")
    with os.fdopen(handle, "wb") as file:
        sheet.save(file, "PNG")
    return Path(name)


def open_outside(what: str) -> bool:
    """Open a file or an address with the program that the system has for it; False if there is no
    such program. What it prints is not shown."""
    if shutil.which(OPENER) is None:
        return False
    subprocess.Popen(
        [OPENER, what],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return True


def load_pictures(
    hits: Iterable[Found], load: Callable[[Any], Image.Image] | None = None
) -> Sequence[Image.Image | CliphouseError]:
    """The picture of each hit, or why there is none: local files, and those of public addresses.

    ``load`` gets the picture of a hit in another way."""
    from concurrent.futures import ThreadPoolExecutor

    def one(hit: Found) -> Image.Image | CliphouseError:
        try:
            return (load or load_picture)(hit)
        except CliphouseError as error:
            return error

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, hits))


def name_of(hit: Found) -> str:
    """What a hit's picture is called: its caption, or the name of its file, with the time of a
    frame in its video."""
    from cliphouse.pictures.video import split_frame

    caption = str(hit.values.get("caption") or "")
    if caption:
        return caption
    address, seconds = split_frame(str(hit.values.get("url") or ""))
    is_quoted = address.lower().startswith((*_WEB, "file://"))
    path = re.split("[?#]", address)[0].rstrip("/") if is_quoted else address
    name = path.rpartition("/")[2]
    name = unquote(name) if is_quoted else name
    return name if seconds is None else f"{name} at {seconds:.10g} s"


def is_on_the_web(hit: Found) -> bool:
    """Whether a hit's picture has an address on the web, and is no file."""
    return str(hit.values.get("url") or "").lower().startswith(_WEB)


def load_picture(hit: Found) -> Image.Image:
    """The picture of a hit, from its file or its public address. Raises PictureError if there is
    none there."""
    from cliphouse.pictures.files import read_picture
    from cliphouse.pictures.open_any import open_any
    from cliphouse.pictures.video import frame_name, split_frame
    from cliphouse.search.query.typed import existing_file

    url = str(hit.values.get("url") or "")
    if is_on_the_web(hit):
        from cliphouse.pictures.public import fetch_public

        return read_picture(io.BytesIO(fetch_public(url)), url)
    name, seconds = split_frame(url)
    file = existing_file(name)
    if file is None:
        raise PictureError(f"{url}: no such file" if url else "a row without an address")
    return open_any(frame_name(str(file), seconds))


def _figure(hit: Found) -> str:
    name = in_order(name_of(hit))
    shown = name if len(name) <= _LONGEST else name[:_LONGEST] + "…"
    return (
        f'<figure style="width:{_PIXELS}px;margin:0;font-size:13px">{_picture(hit, shown)}'
        f'<figcaption style="overflow-wrap:anywhere"><b>{hit.score:.3f}</b> {escape(shown)}'
        "</figcaption></figure>"
    )


def _picture(hit: Found, caption: str) -> str:
    url = str(hit.values.get("url") or "")
    if not url.lower().startswith(_WEB):
        image = _open(url)
        if image is None:
            return f'<div style="{_BOX}" title="{escape(in_order(url))}"></div>'
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


def _open(url: str) -> Image.Image | None:
    """The picture in a local file; None if there is none."""
    from cliphouse.pictures.open_any import open_any
    from cliphouse.pictures.video import split_frame

    try:
        return open_any(url) if Path(split_frame(url)[0]).is_file() else None
    except (PictureError, OSError, ValueError):
        return None
