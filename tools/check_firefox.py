"""The page's main ways, in Firefox: python tools/check_firefox.py

make test-firefox runs it. The other tests of the page use Chromium through playwright, which does
not drive a distribution's Firefox; this program speaks WebDriver BiDi with it, which Firefox has
built in. It serves a small demo, and a folder of photographs with a video, does what people do, and
prints a line for each check.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from PIL import ExifTags, Image
from websockets.sync.client import ClientConnection, connect

from cliphouse.demo import Demo

ROWS = 200
PHOTOGRAPHS = "photographs"  # the table of MOST photographs, the last two of which are the same
MOST, SECONDS = 12, 25  # and of the frames of a video of so many seconds
WAIT_SECONDS = 30.0
FIREFOX = ("firefox-esr", "firefox")
ENTER, ESCAPE, RIGHT = "\ue007", "\ue00c", "\ue014"
PREFERENCES = (
    'user_pref("browser.shell.checkDefaultBrowser", false);\n'
    'user_pref("datareporting.policy.dataSubmissionEnabled", false);\n'
    'user_pref("app.update.enabled", false);\n'
    'user_pref("network.captive-portal-service.enabled", false);\n'
)
TILES = 'document.querySelectorAll("#grid .tile:not([hidden])").length'
PAINTED = 'document.querySelectorAll("#grid img.shown").length'
ASKED = """performance.getEntriesByType("resource").map((entry) => new URL(entry.name).pathname)
  .filter((path) => path.startsWith("/api/") && !path.startsWith("/api/image"))"""


class CheckError(Exception):
    """The page did not do what it should."""


class Page:
    """A tab of Firefox, and the errors that it logs."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        self._call("session.new", capabilities={})
        self._call("session.subscribe", events=["log.entryAdded"])
        tree = self._call("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]
        size = {"width": 1280, "height": 800}
        self._call("browsingContext.setViewport", context=self._context, viewport=size)

    def open(self, url: str) -> None:
        self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def value(self, expression: str) -> Any:
        """What the expression is in the page, as JSON has it."""
        found = self._call(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": self._context},
            awaitPromise=True,
        )
        if found["type"] == "exception":
            raise CheckError(f"{expression}: {found['exceptionDetails']['text']}")
        return json.loads(found["result"].get("value", "null"))

    def wait(self, expression: str) -> None:
        """Wait until the expression is true."""
        end = time.monotonic() + WAIT_SECONDS
        while not self.value(f"Boolean({expression})"):
            if time.monotonic() > end:
                raise CheckError(f"not within {WAIT_SECONDS:.0f} s: {expression}")
            time.sleep(0.05)

    def press(self, keys: str) -> None:
        """Press keys one by one, as somebody does."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self._call("input.performActions", context=self._context, actions=[source])

    def click(self, selector: str) -> None:
        """Click in the middle of the first element that matches."""
        box = self.value(
            f"((box) => ({{ x: box.x + box.width / 2, y: box.y + box.height / 2 }}))"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        at = {"type": "pointerMove", "x": round(box["x"]), "y": round(box["y"])}
        buttons = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        source = {"type": "pointer", "id": "mouse", "actions": [at, *buttons]}
        self._call("input.performActions", context=self._context, actions=[source])

    def shoot(self, path: Path) -> None:
        """Keep a picture of what is seen."""
        shot = self._call("browsingContext.captureScreenshot", context=self._context)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=WAIT_SECONDS))
            if message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
                self.errors.append(str(message["params"]["text"]))
            if message.get("id") == number:
                if message["type"] == "error":
                    raise CheckError(f"{method}: {message['message']}")
                return message["result"]


def check_start(page: Page, url: str) -> None:
    page.open(url)
    page.wait(f"{PAINTED} > 5")
    asked = page.value(ASKED)
    expect(asked.count("/api/start") == 1, f"the page asked {asked}")


def check_search(page: Page, url: str) -> None:
    page.open(url)
    page.wait(f"{TILES} > 0")
    page.press("/a red star")
    page.wait('location.search === "?q=a+red+star"')
    page.wait('document.getElementById("engine").textContent.includes("recall")')
    page.wait('document.getElementById("mentions").textContent !== ""')
    page.click("#by-words")
    page.wait('location.search === "?q=a+red+star&by=words"')
    words = '(document.querySelector("#grid .words")?.textContent ?? "")'
    page.wait(f'{words}.includes("red") && {words}.includes("star")')


def check_detail(page: Page, url: str) -> None:
    page.open(f"{url}/?q=a+red+star")
    page.wait(f"{PAINTED} > 5")
    page.click("#grid .open")
    page.wait('document.querySelector("#detail[open] [data-modality=text] img")')
    first = page.value("location.search")
    page.press(RIGHT)
    page.wait(f"location.search !== {json.dumps(first)}")
    page.press("+")
    page.wait('document.querySelector(".large.enlarged")')
    page.press(ESCAPE)
    page.wait('!document.querySelector("#detail").open && !location.search.includes("item=")')


def check_selection(page: Page, url: str) -> None:
    page.open(f"{url}/?q=a+red+star")
    page.wait(f"{PAINTED} > 5")
    page.value('document.querySelector("#grid .open").focus()')
    page.press(" ")
    page.wait('document.getElementById("selected-count").textContent === "1 selected"')
    page.click("#like-selected")
    page.wait('document.querySelectorAll("#chips .chip").length === 1')
    page.wait(f"{PAINTED} > 5")


def check_filters(page: Page, url: str) -> None:
    page.open(f"{url}/?sort=-width")
    page.wait(f"{PAINTED} > 5")
    page.click("#filters-menu summary")
    page.click('#filters [name="caption_contains"]')
    page.press("star")
    page.wait('location.search.includes("caption_contains=star")')
    captions = '[...document.querySelectorAll("#grid .words")].map((one) => one.textContent)'
    page.wait(f'{captions}.length > 0 && {captions}.every((one) => one.includes("star"))')


def check_dataset(page: Page, url: str) -> None:
    page.open(f"{url}/?view=dataset")
    page.wait('document.querySelectorAll("#dataset figure svg").length > 2')


def check_dates(page: Page, url: str) -> None:
    page.open(f"{url}/?table={PHOTOGRAPHS}")
    page.wait(f"{PAINTED} > 1")
    headings = '[...document.querySelectorAll("#grid h2")].map((one) => one.textContent)'
    page.wait(f'{headings}[0] === "December 2019" && {headings}[1] === "November 2019"')


def check_map(page: Page, url: str) -> None:
    page.open(f"{url}/?table={PHOTOGRAPHS}&view=map")
    page.wait('document.querySelector(".pin img")?.complete')
    expect(page.value('document.querySelectorAll(".pin").length') == 2, "two towns, not two pins")
    page.click(".pin")
    page.wait(f'document.getElementById("count").textContent.startsWith("{MOST // 2} pictures")')


def check_duplicates(page: Page, url: str) -> None:
    page.open(f"{url}/?table={PHOTOGRAPHS}&view=duplicates")
    page.wait('document.querySelectorAll("#duplicates li img").length > 1')
    page.click("#duplicates li a")
    page.wait('document.querySelector("#detail").open')
    page.press(ESCAPE)
    page.wait('location.search.includes("view=duplicates")')


def check_video(page: Page, url: str) -> None:
    page.open(f"{url}/?table={PHOTOGRAPHS}&sort=-frame_time")
    page.wait(f"{PAINTED} > 1")
    page.click("#grid .open")
    page.wait('document.querySelector("#detail video")?.readyState >= 2')
    time_of = 'document.querySelector("#detail video").currentTime'
    page.wait(f"Math.abs({time_of} - 20) < 0.5")


CHECKS: dict[str, Callable[[Page, str], None]] = {
    "all pictures, after one request": check_start,
    "words by meaning, and in captions": check_search,
    "one picture, with keys and zoom": check_detail,
    "a selection, and more like it": check_selection,
    "a sort and a filter": check_filters,
    "the dataset": check_dataset,
    "photographs by date": check_dates,
    "the map": check_map,
    "duplicates": check_duplicates,
    "a video at its time": check_video,
}


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CheckError(otherwise)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a small demo, and photographs; its address."""
    cliphouse = [sys.executable, "-m", "cliphouse"]
    making = [*cliphouse, "demo", "--rows", str(ROWS), "--dir", str(folder)]
    quiet = subprocess.DEVNULL
    subprocess.run(making, check=True, stdout=quiet, stderr=quiet)
    demo = Demo(folder, ROWS)
    photographs = folder / PHOTOGRAPHS
    take_photographs(photographs)
    at = ["--db", str(demo.database), "--table", PHOTOGRAPHS]
    following = [*cliphouse, "sync", str(photographs), *at, "--model", "tiny"]
    subprocess.run(following, check=True, stdout=quiet, stderr=quiet)
    command = [*cliphouse, "serve", "--table", "laion", *at]
    command += ["--pictures", str(demo.pictures), "--pictures", str(photographs), "--port", "0"]
    with running(command, subprocess.PIPE, subprocess.DEVNULL) as process:
        yield told(process.stdout, r"at (http://\S+)")


def take_photographs(folder: Path) -> None:
    """A photograph a month, in two towns by turns, and a video."""
    folder.mkdir()
    for number in range(MOST):
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = (
            f"2019:{number + 1:02}:01 12:00:00"
        )
        degrees = float(number % 2 * 40)
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {1: "N", 2: (degrees, 0.0, 0.0), 3: "E", 4: (degrees, 0.0, 0.0)}
        )
        shade = min(number, MOST - 2) * 20
        image = Image.linear_gradient("L").point(lambda value, by=shade: (value + by) % 256)
        image.save(folder / f"{number}.jpg", exif=exif)
    with av.open(str(folder / "clip.webm"), "w") as container:
        stream = container.add_stream("libvpx", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for second in range(SECONDS):
            frame = Image.new("RGB", (64, 48), (second * 10, 0, 0))
            made = av.VideoFrame.from_image(frame)  # type: ignore[no-untyped-call]
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))


@contextmanager
def firefox(folder: Path) -> Iterator[Page]:
    """A tab of a Firefox without a window, with a new profile in ``folder``."""
    path = next(filter(None, map(shutil.which, FIREFOX)), None)
    if path is None:
        raise CheckError("there is no Firefox; install one, on Debian: apt-get install firefox-esr")
    folder.mkdir()
    (folder / "user.js").write_text(PREFERENCES)
    command = [path, "--headless", "--no-remote", "--profile", str(folder)]
    command += ["--remote-debugging-port", "0"]
    with running(command, subprocess.DEVNULL, subprocess.PIPE) as process:
        address = told(process.stderr, r"WebDriver BiDi listening on (ws://\S+)")
        with connect(f"{address}/session", max_size=None) as socket:
            yield Page(socket)


@contextmanager
def running(command: list[str], out: int, err: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=out, stderr=err, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def told(lines: Any, pattern: str) -> str:
    """What the first line that matches says."""
    for line in lines:
        if match := re.search(pattern, line):
            return match[1]
    raise CheckError(f"a program ended without saying {pattern}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shots", type=Path, help="a folder for a screenshot of each check")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with serving(folder / "demo") as url, firefox(folder / "profile") as page:
            for name, check in CHECKS.items():
                try:
                    check(page, url)
                    expect(not page.errors, "; ".join(page.errors))
                except CheckError as error:
                    print(f"failed: {name}: {error}")
                    return 1
                finally:
                    if options.shots:
                        page.shoot(options.shots / f"firefox-{check.__name__}.png")
                print(f"passed: {name}")
    print(f"{len(CHECKS)} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
