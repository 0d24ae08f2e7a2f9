"""What a person does with pictures on the page: selects several, opens a stack, enlarges one."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import httpx
import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from browser import Chromium, Watched, watched
from cliphouse.models import load_encoder
from page_data import COPIED, COPIES, GONE, PageData
from serving import Served


@pytest.fixture
def watch(browser: Chromium, page_service: Served) -> Iterator[Watched]:
    with watched(browser, page_service.url) as seen:
        yield seen


def test_pictures_are_selected_by_mouse_and_keyboard(
    watch: Watched, page_data: PageData, tmp_path: Path
) -> None:
    page = watch.open("/?table=laion")
    expect(page.locator("#grid img.shown").first).to_be_visible()
    ids = watch.ids()
    tiles = page.locator("#grid .tile:not([hidden])")
    bar = page.get_by_role("region", name="Selected pictures")
    expect(bar).to_be_hidden()
    tiles.nth(1).hover()
    tiles.nth(1).get_by_role("checkbox").click()
    tiles.nth(4).locator(".open").click(modifiers=["Shift"])
    expect(bar.get_by_role("status")).to_have_text("4 selected")
    tiles.nth(2).locator(".open").click()  # while something is selected, a click selects
    expect(tiles.nth(2).get_by_role("checkbox")).to_have_attribute("aria-checked", "false")
    chosen = [ids[1], ids[3], ids[4]]
    watch.shoot("selected-desktop-light")
    watch.inspect()
    page.set_viewport_size({"width": 390, "height": 844})
    watch.shoot("selected-phone-light")
    watch.inspect()
    page.set_viewport_size({"width": 1280, "height": 720})
    bar.get_by_role("button", name="Copy paths").click()
    expect(page.locator("#toast")).to_have_text("Paths copied")
    copied = page.evaluate("navigator.clipboard.readText()").split("\n")
    assert sorted(copied) == sorted(page_data.urls[row] for row in chosen)
    with page.expect_download() as download:
        bar.get_by_role("button", name="Download zip").click()
    download.value.save_as(tmp_path / "chosen.zip")
    with zipfile.ZipFile(tmp_path / "chosen.zip") as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    paths = [Path(page_data.urls[row]) for row in chosen]
    assert kept == {path.name: path.read_bytes() for path in paths}
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    tiles.nth(0).locator(".open").focus()
    page.keyboard.press(" ")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(bar.get_by_role("status")).to_have_text("3 selected")
    expect(tiles.nth(2).locator(".open")).to_be_focused()
    bar.get_by_role("button", name="More like these").click()
    expect(page.locator("#chips .chip")).to_have_count(3)
    expect(bar).to_be_hidden()
    unit = page_data.drawn.image / np.linalg.norm(page_data.drawn.image, axis=1, keepdims=True)
    nearest = int(np.argmax(unit @ unit[ids[:3]].sum(axis=0)))
    expect(page.locator("#grid .tile").first).to_have_attribute("data-id", str(nearest))
    page.locator("#grid .open").first.focus()
    page.keyboard.press("Control+a")
    expect(bar.get_by_role("status")).to_have_text(re.compile(r"\d+ selected"))
    expect(bar.get_by_role("button", name="More like these")).to_be_disabled()
    bar.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Select", exact=True).click()
    expect(bar.get_by_role("status")).to_have_text("Choose pictures")


def test_weak_matches_are_set_apart(watch: Watched, page_data: PageData) -> None:
    page = watch.open("/?dedup=off&mode=exact")
    unit = page_data.drawn.image / np.linalg.norm(page_data.drawn.image, axis=1, keepdims=True)
    strong = {}
    for words in ("a red star", "quarterly tax report"):
        vector = load_encoder("tiny").encode_text([words])[0]
        scores = unit @ (vector / np.linalg.norm(vector))
        spread = 1.4826 * np.median(abs(scores - np.median(scores)))
        bound = np.median(scores) + NormalDist().inv_cdf(1 - 1 / len(scores)) * spread
        strong[words] = int((scores >= bound).sum())
        page.fill("#words", words)
        page.wait_for_function(
            """at => document.querySelector("#grid .group")?.textContent.startsWith("Less alike")
              && [...document.querySelectorAll("#grid li")].findIndex(
                (one) => one.matches(".group")) === at""",
            arg=strong[words],
        )
        watch.shoot("weak-desktop-light")
        body = {"words": words, "k": 3}
        for asked, expected in ((True, pytest.approx(bound, abs=1e-4)), (False, None)):
            answer = httpx.post(f"{watch.url}/api/search", json=body | {"weak": asked})
            assert answer.json()["search"]["weak_below"] == expected
    assert strong["quarterly tax report"] <= 2 < strong["a red star"]  # one by chance, on average


def test_a_stack_opens_in_place(watch: Watched, page_data: PageData) -> None:
    kept = page_data.row(COPIED)
    page = watch.open(f"/?part=1:row:{kept}")
    gone = page.locator(f'#grid .tile[data-id="{page_data.row(GONE)}"]')
    stack = page.locator("#grid .folded")
    copies = {page_data.row(f"{COPIED}_copy{number}") for number in range(COPIES)} | {kept}
    expect(stack.first).to_have_attribute("aria-expanded", "false")
    expect(gone).to_be_hidden()
    folded = watch.ids()
    first = next(row for row in folded if row in copies)
    at = folded.index(first)
    stack.first.click()
    expect(page.locator("#grid .stacked")).to_have_count(COPIES)
    shown = watch.ids()
    assert set(shown[at : at + COPIES + 1]) == copies
    others = [row for row in shown if row not in copies]
    assert others[: len(folded) - 1] == [row for row in folded if row != first]
    expect(stack.first).to_be_focused()
    expect(stack.first).to_have_attribute("aria-expanded", "true")
    watch.shoot("stack-desktop-light")
    watch.inspect()
    stack.first.click()
    expect(page.locator("#grid .stacked")).to_have_count(0)
    assert watch.ids()[: len(folded)] == folded


def test_a_picture_is_enlarged_moved_saved_and_swiped(
    watch: Watched, page_data: PageData, tmp_path: Path
) -> None:
    row = page_data.row("picture_00007")
    page = watch.open(f"/?item={row}")
    image = page.locator(".large img")
    expect(image).to_have_attribute("src", re.compile("size=1024"))
    with page.expect_request(re.compile(rf"/api/image/{row}$")):
        page.keyboard.press("+")
    expect(image).to_have_attribute("src", re.compile(rf"/api/image/{row}$"))
    scale = "image => new DOMMatrix(getComputedStyle(image).transform)"
    assert image.evaluate(f"image => ({scale})(image).a") == pytest.approx(1.5)
    box = page.locator(".large").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 110)
    page.mouse.up()
    moved = image.evaluate(f"image => {{ const m = ({scale})(image); return [m.e, m.f]; }}")
    assert moved == pytest.approx([30, 10], abs=1)
    page.keyboard.press("0")
    assert image.evaluate(f"image => ({scale})(image).a") == 1
    page.keyboard.press("f")
    expect(page.locator(".about")).to_be_hidden()
    filled = page.locator(".large").bounding_box()
    assert filled is not None
    assert filled["width"] > 1200
    page.mouse.wheel(0, -500)
    assert image.evaluate(f"image => ({scale})(image).a") > 1.5
    watch.shoot("whole-desktop-light")
    watch.inspect()
    page.keyboard.press("Escape")
    expect(page.locator(".about")).to_be_visible()  # the second one would close the picture
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "picture_00007.jpg"
    download.value.save_as(tmp_path / "saved.jpg")
    assert (tmp_path / "saved.jpg").read_bytes() == Path(page_data.urls[row]).read_bytes()
    page.keyboard.press("Escape")
    page.goto(watch.url)
    expect(page.locator("#grid .open").first).to_be_visible()
    shown = [i for i in watch.ids() if i != page_data.row(GONE)]
    page.locator("#grid .open").first.click()
    title = page.get_by_role("dialog").get_by_role("heading", level=2)
    expect(title).to_have_text(page_data.captions[shown[0]])
    for left, at in ((True, 1), (True, 2), (False, 1)):
        _swipe(page.locator(".large"), left)
        expect(title).to_have_text(page_data.captions[shown[at]])


def _swipe(box: Locator, left: bool) -> None:
    """A finger that moves sideways over the picture."""
    box.evaluate(
        """(box, left) => {
          const { left: x, top: y, width } = box.getBoundingClientRect();
          const path = left ? [0.8, 0.5, 0.2] : [0.2, 0.5, 0.8];
          ["pointerdown", "pointermove", "pointerup"].forEach((type, i) => box.dispatchEvent(
            new PointerEvent(type, { pointerId: 7, pointerType: "touch", bubbles: true, button: 0,
              clientX: x + width * path[i], clientY: y + 90 })));
        }""",
        left,
    )
