"""Takes the pictures of the search page that are in the documentation, from the demo.

    python tools/screenshots.py [--demo demo]

They go to docs/images as WebP files. The browser is the one of the tests (make browser).
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from headless import launch  # noqa: E402

IMAGES = ROOT / "docs" / "images"
_DESKTOP: dict[str, Any] = {"viewport": {"width": 1200, "height": 760}}
_PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 760},
    "is_mobile": True,
    "has_touch": True,
}
_QUALITY = 70
_LOADED = "() => [...document.images].every((one) => one.complete || one.loading === 'lazy')"
_TIMES = 3  # what a service takes at first is no picture of it
_SETTLING_MS = 700  # what fades in


@dataclass(frozen=True)
class Shot:
    """One picture: the page at ``address``, after ``act``."""

    name: str
    address: str
    options: dict[str, Any] = field(default_factory=lambda: _DESKTOP)
    act: Callable[[Page], None] | None = None


def _open_first(page: Page) -> None:
    page.locator("#grid .tile").first.click()
    page.wait_for_function("() => document.querySelectorAll('dialog[open] img').length > 6")


SHOTS = (
    Shot("page", "/?q=two+blue+circles"),
    Shot("page-all", "/"),
    Shot("page-picture", "/?q=two+blue+circles", act=_open_first),
    Shot("page-phone", "/?q=a+red+heart", _PHONE),
    Shot("page-dark", "/?q=a+yellow+star", _DESKTOP | {"color_scheme": "dark"}),
    Shot("page-dataset", "/?view=dataset"),
)


def main() -> int:
    """Take all pictures; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="what make demo made")
    demo = parser.parse_args().demo
    if not (demo / "laion.chdb").is_dir():
        print(f"{demo}: no demo here; run make demo", file=sys.stderr)
        return 2
    with served(demo) as address, sync_playwright() as playwright:
        browser = launch(playwright)
        for shot in SHOTS:
            size = _take(browser, address, shot)
            print(f"{shot.name}.webp: {size / 1000:.0f} kB")
        browser.close()
    return 0


@contextmanager
def served(demo: Path) -> Iterator[str]:
    """The address of a service of the demo, which ends with it."""
    command = [sys.executable, "-m", "cliphouse", "serve", "--port", "0"]
    places = ["--db", str(demo / "laion.chdb"), "--pictures", str(demo / "pictures")]
    service = subprocess.Popen(
        [*command, *places], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert service.stdout is not None
        found = re.search(r"http://\S+", service.stdout.readline())
        assert found is not None, "the service did not start"
        yield found[0]
    finally:
        service.terminate()
        service.wait()


def _take(browser: Browser, address: str, shot: Shot) -> int:
    context = browser.new_context(base_url=address, reduced_motion="reduce", **shot.options)
    page = context.new_page()
    for _ in range(_TIMES):
        page.goto(shot.address)
        page.wait_for_load_state("networkidle")
    if shot.act is not None:
        shot.act(page)
        page.wait_for_load_state("networkidle")
    page.wait_for_function(_LOADED)
    page.wait_for_timeout(_SETTLING_MS)
    image = Image.open(io.BytesIO(page.screenshot()))
    file = IMAGES / f"{shot.name}.webp"
    image.convert("RGB").save(file, "WEBP", quality=_QUALITY, method=6)
    context.close()
    return file.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
