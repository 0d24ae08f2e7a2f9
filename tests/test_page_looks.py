"""How the page looks and reads: axe-core finds nothing serious in any view, nothing is wider than
a phone, and every view leaves a screenshot in build/screenshots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import pytest
from playwright.sync_api import expect

from browser import Chromium, Watched, watched
from serving import Served
from thorough import IS_THOROUGH

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# The colours are the same at every size, and to inspect them takes half a second.
INSPECTED: dict[str, Literal["light", "dark"]] = {"desktop": "light", "phone": "dark"}


@dataclass(frozen=True)
class View:
    """A view of the page: its address, what says that it is there, and what is opened in it."""

    address: str
    ready: str
    opened: str = ""


VIEWS = {
    "welcome": View("/", "#grid img.shown"),
    "results": View("/?q=a+red+star&part=-0.5:words:small", "#grid img.shown"),
    "filters": View("/?q=a+red+star&min_width=10", "#grid img.shown", "#filters-menu summary"),
    "export": View("/?q=a+red+star", "#grid img.shown", "#export-menu summary"),
    "detail": View("/?q=a+red+star&item=7", "[data-modality=text] img"),
    "dataset": View("/?view=dataset", "#dataset figure"),
    "problem": View("/?part=-1:words:star", "#problem:not([hidden])"),
}


@contextmanager
def seen_at(size: str, browser: Chromium, url: str) -> Iterator[Watched]:
    """A page of the size of a desktop's window, or of a phone."""
    width, height = SIZES[size]
    is_phone = size == "phone"
    with watched(
        browser,
        url,
        viewport={"width": width, "height": height},
        has_touch=is_phone,
        is_mobile=is_phone,
        reduced_motion="reduce",
    ) as seen:
        yield seen


@pytest.fixture(params=SIZES)
def watch(
    request: pytest.FixtureRequest, browser: Chromium, page_service: Served
) -> Iterator[tuple[str, Watched]]:
    with seen_at(request.param, browser, page_service.url) as seen:
        yield request.param, seen


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_accessible_and_fits(watch: tuple[str, Watched], name: str) -> None:
    size, seen = watch
    look_at(seen, VIEWS[name], name, size, is_inspected=True)
    if name == "problem":
        seen.errors.clear()  # the browser logs the answer's status 400


def test_a_narrow_window_is_wide_enough(browser: Chromium, page_service: Served) -> None:
    with watched(browser, page_service.url, viewport={"width": 320, "height": 640}) as seen:
        for view in ("/?q=a+star", "/?view=dataset"):
            expect(
                seen.open(view).locator("#grid img.shown, #dataset figure").first
            ).to_be_visible()
            seen.fits()


def look_at(seen: Watched, view: View, name: str, size: str, is_inspected: bool) -> None:
    """Keep a picture of the view, of one that is inspected in each scheme; nothing in it is wider
    than the window."""
    page = seen.open(view.address)
    expect(page.locator(view.ready).first).to_be_visible()
    if view.opened:
        page.locator(view.opened).click()
    page.wait_for_function(
        """() => [...document.images].every((image) => {
          const box = image.getBoundingClientRect();
          const isSeen = box.width > 0 && box.top < innerHeight && box.left < innerWidth;
          return !isSeen || image.complete;
        })"""
    )
    for scheme in SCHEMES if is_inspected or IS_THOROUGH else (INSPECTED[size],):
        page.emulate_media(color_scheme=scheme)
        seen.shoot(f"{name}-{size}-{scheme}")
        if (is_inspected and scheme == INSPECTED[size]) or IS_THOROUGH:
            seen.inspect()
    seen.fits()


def test_nothing_moves_for_those_who_ask_for_it(browser: Chromium, page_service: Served) -> None:
    for motion, seconds in (("reduce", "0s"), ("no-preference", "0.12s, 0.12s")):
        with watched(browser, page_service.url, reduced_motion=motion) as seen:
            page = seen.open("/?q=a+star")
            expect(page.locator("#grid img.shown").first).to_be_visible()
            acts = page.locator("#grid .acts").first
            duration = acts.evaluate("acts => getComputedStyle(acts).transitionDuration")
            assert duration == seconds
