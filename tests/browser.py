"""A real browser for the tests of the page, and what it complains of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Route,
    expect,
    sync_playwright,
)

from headless import launch

# Nothing is fetched from another machine; and threads do what processes do otherwise.
_ARGUMENTS = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    *("--in-process-gpu", "--enable-features=NetworkServiceInProcess2"),
)
SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
ELSEWHERE = "https://pictures.example/"
# A machine with other work to do may starve the browser for longer than playwright's 5 seconds.
expect.set_options(timeout=20_000)


@dataclass
class Watched:
    """A page of the browser and the errors it met; once ``picture`` is set, also its requests for
    elsewhere."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    foreign: list[dict[str, Any]] = field(default_factory=list)
    _picture: bytes = b""

    @property
    def picture(self) -> bytes:
        """What every address below ELSEWHERE answers with; others are refused. Setting it takes a
        fifth more time: the browser asks at each request then, and caches nothing."""
        return self._picture

    @picture.setter
    def picture(self, picture: bytes) -> None:
        self._picture = picture

        def answer(route: Route) -> None:
            request = route.request
            self.foreign.append({"url": request.url, "headers": request.all_headers()})
            if request.url.startswith(ELSEWHERE):
                route.fulfill(body=picture, content_type="image/png")
            else:
                route.abort()

        pattern = re.compile(f"^(?!{re.escape(self.url)}|data:|blob:)")
        self.page.context.route(pattern, answer)

    def note(self, message: ConsoleMessage) -> None:
        """A picture that is not there is no error of the page's, though the browser logs it."""
        source = message.location["url"]
        is_picture = "/api/image/" in source or not source.startswith(self.url)
        if message.type == "error" and not (is_picture and "Failed to load" in message.text):
            self.errors.append(message.text)

    def open(self, address: str = "/") -> Page:
        self.page.goto(self.url + address)
        return self.page

    def ids(self) -> list[int]:
        """The rows of the grid in their order, as far as they are shown."""
        tiles = self.page.locator("#grid .tile:not([hidden])")
        return [int(i) for i in tiles.evaluate_all("tiles => tiles.map(t => t.dataset.id)")]

    def shoot(self, name: str) -> None:
        """Keep a picture of what is seen, to be looked at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def inspect(self) -> None:
        """Fails if axe-core finds anything serious, or if something is wider than the window."""
        options = {"resultTypes": ["violations"]}
        found = Axe().run(self.page, options=options).response["violations"]
        serious = [
            (rule["id"], [node["html"] for node in rule["nodes"]])
            for rule in found
            if rule["impact"] in ("serious", "critical")
        ]
        assert serious == []
        self.fits()

    def fits(self) -> None:
        """Fails if something stays wider than the window, once the lines are laid out for it."""
        self.page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")


class Chromium:
    """A browser with one context for each service and set of options.

    A new context costs a second, and so does the first tab of one: an empty tab stays open in each.
    The page keeps what it keeps with its own tab, so a new one knows nothing of those before."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: dict[str, BrowserContext] = {}

    def context(self, url: str, options: dict[str, Any]) -> BrowserContext:
        key = f"{url} {options}"
        if key not in self._contexts:
            permissions = ["clipboard-read", "clipboard-write"]
            made = self._browser.new_context(base_url=url, permissions=permissions, **options)
            made.set_default_timeout(20_000)
            made.new_page()
            self._contexts[key] = made
        return self._contexts[key]


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Chromium without a window (see headless.launch)."""
    with sync_playwright() as playwright:
        browser = launch(playwright, *_ARGUMENTS)
        yield Chromium(browser)
        browser.close()


@contextmanager
def watched(browser: Chromium, url: str, **options: Any) -> Iterator[Watched]:
    """A page of its own for the service at ``url``; fails where it met an error that the test has
    not taken out of ``errors``. Nothing is fetched from elsewhere."""
    context = browser.context(url, options)
    seen = Watched(context.new_page(), url)
    seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
    seen.page.on("console", lambda message: seen.note(message))
    try:
        yield seen
    finally:
        for page in context.pages[1:]:
            page.close()
        context.unroute_all(behavior="ignoreErrors")
        assert not context.cookies()
    assert seen.errors == []
