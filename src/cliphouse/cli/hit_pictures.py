"""The pictures of hits: on the terminal, in the system's viewer, or on the page of a service."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from cliphouse.cli import show
from cliphouse.errors import CliphouseError, PictureError, QueryError

if TYPE_CHECKING:
    from PIL import Image

    from cliphouse.cli.terminal.screen import Screen
    from cliphouse.client import Client
    from cliphouse.search.hits import Hit
    from cliphouse.search.query.operand import Operand
    from cliphouse.search.request import Request
    from cliphouse.search.results import SearchResult

MOST = 60
_WIDTH, _WIDTH_OF_BLOCKS = 22, 26  # characters of a picture: blocks have but two pixels in each
_GAP = 2
_THUMBNAIL = 640


@dataclass(frozen=True)
class Source:
    """Where the pictures come from: the service at ``server``, or the rows' own addresses."""

    server: str | None = None
    api_key: str | None = None
    table: str | None = None

    def load(self, hits: Sequence[Hit]) -> list[Image.Image | None]:
        """The picture of each hit, None if there is none. One line says how many and why."""
        from cliphouse.search.display import load_pictures

        if self.server is None:
            found = load_pictures(hits)
        else:
            from cliphouse.client import Client

            with Client(self.server, self.api_key) as service:
                found = load_pictures(hits, lambda hit: self._fetch(hit, service))
        reasons = [one for one in found if isinstance(one, CliphouseError)]
        if reasons:
            show.err.print(
                f"{len(reasons)} of {len(found)} pictures cannot be shown, the first because: "
                f"{show.plain(str(reasons[0]))}",
                markup=False,
            )
        return [None if isinstance(one, CliphouseError) else one for one in found]

    def _fetch(self, hit: Hit, service: Client) -> Image.Image:
        """The picture of a service's hit: the service sends files, and not what is on the web."""
        from cliphouse.pictures.files import read_picture
        from cliphouse.search.display import is_on_the_web, load_picture

        if is_on_the_web(hit):
            return load_picture(hit)
        sent = service.picture(hit.id, _THUMBNAIL, self.table)
        return read_picture(io.BytesIO(sent), f"row {hit.id}")


def find_screen() -> Screen:
    """The screen to show pictures on. Raises QueryError if the output is no terminal."""
    from cliphouse.cli.terminal.screen import VARIABLE, find_screen

    screen = find_screen()
    if screen is None:
        raise QueryError(
            "--show draws on a terminal, and the output is none: use --open for a contact sheet, "
            f"or name a protocol in {VARIABLE}"
        )
    return screen


def show_pictures(result: SearchResult, source: Source, screen: Screen) -> None:
    """Draw the pictures of the first MOST hits side by side, each with its rank, score and caption
    below, or the name of its file."""
    from cliphouse.cli.terminal.paint import paint
    from cliphouse.cli.terminal.screen import Protocol
    from cliphouse.search.display import name_of

    hits = _first(result)
    pictures = source.load(hits)
    width = _WIDTH_OF_BLOCKS if screen.protocol is Protocol.BLOCKS else _WIDTH
    width = min(width, show.out.width)
    rows = max(1, min(width * screen.cell.width // screen.cell.height, show.out.height - 3))
    beside = max(1, (show.out.width + _GAP) // (width + _GAP))
    for start in range(0, len(hits), beside):
        group = range(start, min(start + beside, len(hits)))
        columns = len(group) * (width + _GAP) - _GAP
        strip = _strip([pictures[n] for n in group], width, rows, screen)
        if strip is not None:
            paint(strip, columns, rows, screen, show.out)
        heads = [_head(n + 1, hits[n], pictures[n]) for n in group]
        show.in_columns(heads, width, _GAP)
        show.in_columns([name_of(hits[n]) for n in group], width, _GAP)
        show.out.print()


def open_sheet(result: SearchResult, title: str, source: Source) -> None:
    """Open a contact sheet in the system's viewer, and print the name of its file."""
    from cliphouse.search.display import save_sheet, sheet_of

    hits = _first(result)
    try:
        sheet = sheet_of(hits, title, source.load(hits))
    except PictureError:
        raise PictureError("no hit has a picture that can be read: nothing to open") from None
    file = save_sheet(sheet)
    show.err.print(f"contact sheet: {file}", markup=False)
    _launch(str(file))


def open_page(
    server: str, operands: Sequence[Operand], request: Request, table: str | None
) -> None:
    """Open the page of a service with this search, and print its address. Raises QueryError if the
    search has a file or a vector, which no address can hold."""
    address = page_address(server, operands, request, table)
    show.err.print(f"page: {address}", markup=False)
    _launch(address)


def page_address(
    server: str, operands: Sequence[Operand], request: Request, table: str | None
) -> str:
    """The address of a search on the page of a service."""
    usual = type(request)()
    given: list[tuple[str, str]] = []
    for operand in operands:
        if operand.words is not None and operand.weight == 1 and not given:
            given.append(("q", operand.words))
            continue
        kinds = {"words": operand.words, "row": operand.id, "url": operand.picture_url}
        named = [(kind, value) for kind, value in kinds.items() if value is not None]
        if not named:
            raise QueryError("--open: the page's address cannot hold a file: drop it on the page")
        ((kind, value),) = named
        given.append(("part", f"{operand.weight:g}:{kind}:{value}"))
    for name in ("modality", "mode", "sort", "dedup"):
        if getattr(request, name) != getattr(usual, name):
            given.append((name, str(getattr(request, name))))
    if table is not None:
        given.append(("table", table))
    return f"{server.rstrip('/')}/?{urlencode(given)}"


def _first(result: SearchResult) -> Sequence[Hit]:
    if len(result) > MOST:
        show.err.print(f"the first {MOST} of {len(result):,} pictures:")
    return result[:MOST]


def _head(rank: int, hit: Hit, picture: Image.Image | None) -> str:
    return f"{rank}  {hit.score:.3f}{'' if picture else '  no picture'}"


def _strip(
    pictures: Sequence[Image.Image | None], width: int, rows: int, screen: Screen
) -> Image.Image | None:
    """Pictures side by side as one, each within ``width`` x ``rows`` characters; None if there is
    none."""
    from PIL import Image, ImageOps

    if not any(pictures):
        return None
    across, step = width * screen.cell.width, (width + _GAP) * screen.cell.width
    height = rows * screen.cell.height
    strip = Image.new("RGBA", (len(pictures) * step - _GAP * screen.cell.width, height))
    for number, picture in enumerate(pictures):
        if picture is not None:
            small = ImageOps.contain(picture, (across, height))
            strip.paste(small, (number * step, height - small.height))
    return strip


def _launch(what: str) -> None:
    from cliphouse.search.display import OPENER, open_outside

    if not open_outside(what):
        show.err.print(f"there is no {OPENER} here that opens it")
