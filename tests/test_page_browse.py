"""The page without words: all pictures in the order of a column, and a long scroll through them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import expect

import cliphouse
from browser import ELSEWHERE, Chromium, Watched, watched
from cliphouse.server.settings import ServeSettings
from own_columns import DAYS, LANGUAGES, ROWS, SCORES, load_own_columns
from page_data import PageData
from serving import Served, serving
from shard_files import make_shard

MANY = 450
IDS = """() => [...document.querySelectorAll("#grid .tile:not([hidden])")].map(
  (tile) => Number(tile.dataset.id))"""
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory, page_data: PageData) -> Iterator[Served]:
    """The table laion has columns of its own, among them the time taken; the table many has many
    rows."""
    folder = tmp_path_factory.mktemp("browse")
    db = load_own_columns(folder)
    with Image.open(shown(page_data)) as picture:
        width, height = picture.size
    metadata = {
        "url": [f"{ELSEWHERE}{n}.png" for n in range(MANY)],
        "caption": [f"number {n}" for n in range(MANY)],
        "width": [width] * MANY,
        "height": [height] * MANY,
    }
    with cliphouse.open(db, table="many", model="tiny") as table:
        table.ingest(make_shard(folder / "many", rows=MANY, dim=512, metadata=metadata).folder)
    with serving(ServeSettings(db=str(db), tables=("laion", "many"))) as running:
        yield running


@pytest.fixture
def dated(browser: Chromium, columns: Served, page_data: PageData) -> Iterator[Watched]:
    with watched(browser, columns.url) as seen:
        seen.picture = shown(page_data).read_bytes()
        yield seen


def shown(page_data: PageData) -> Path:
    """What the browser gets for every picture."""
    return page_data.drawn.pictures / "picture_00001.jpg"


def by(values: list[float | None]) -> list[int]:
    """Rows by value, the largest first, then those without."""
    known = [n for n, value in enumerate(values) if value is not None]
    known.sort(key=lambda n: values[n] or 0.0, reverse=True)
    return known + [n for n, value in enumerate(values) if value is None]


def expect_ids(seen: Watched, ids: list[int]) -> None:
    seen.page.wait_for_function(
        f"ids => JSON.stringify(({IDS})()) === JSON.stringify(ids)", arg=ids
    )


def test_all_pictures_are_shown_in_the_order_that_is_chosen(dated: Watched) -> None:
    page = dated.open()
    expect_ids(dated, list(reversed(range(ROWS))))  # the newest first
    months = list(dict.fromkeys(day.strftime("%B %Y") for day in reversed(DAYS)))
    assert page.locator("#grid .group").all_text_contents() == months
    expect(page.locator("#count")).to_have_text(
        f"{ROWS} pictures, sorted by date taken, newest first"
    )
    page.get_by_label("Sort").select_option("aesthetic, highest first")
    expect(page).to_have_url(re.compile(r"\?sort=-aesthetic$"))
    expect_ids(dated, by(SCORES))
    expect(page.locator("#count")).to_have_text(
        f"{ROWS} pictures, sorted by aesthetic, highest first"
    )
    expect(page.locator("#grid .match").first).to_have_text(", aesthetic 14.5")
    assert page.locator("#grid .group").count() == 0
    page.goto(f"{dated.url}/?sort=-aesthetic&language.is=fr")
    expect_ids(dated, [n for n in by(SCORES) if LANGUAGES[n] == "fr"])
    page.goto(f"{dated.url}/?sort=-aesthetic&part=1:row:0&dedup=off&mode=exact")
    body = {"operands": [{"id": 0}], "k": ROWS, "mode": "exact", "weak": True}
    found = httpx.post(f"{dated.url}/api/search", json=body).json()
    least = found["search"]["weak_below"]
    alike = {hit["id"] for hit in found["hits"] if hit["score"] >= least}
    assert 0 < len(alike) < ROWS
    expect_ids(dated, [n for n in by(SCORES) if n in alike])
    said = f"{len(alike)} pictures: those that are alike, sorted by aesthetic, highest first"
    expect(page.locator("#count")).to_have_text(said)
    dated.shoot("sorted-desktop-light")
    page.goto(f"{dated.url}/?sort=nothing")
    expect_ids(dated, list(reversed(range(ROWS))))


def test_the_order_outlasts_a_filter_that_nothing_meets(dated: Watched) -> None:
    page = dated.open()
    newest = list(reversed(range(ROWS)))
    expect_ids(dated, newest)
    page.locator("#filters-menu summary").click()
    contains = page.get_by_label("caption contains")
    contains.fill("no such words")
    expect(page.locator("#count")).to_have_text("Nothing found")
    contains.fill("")
    expect_ids(dated, newest)


def test_filters_and_orders_are_offered_of_columns_with_values(dated: Watched) -> None:
    page = dated.open()
    page.locator("#filters-menu summary").click()
    panel = page.locator("#filters")
    language = panel.get_by_label("language")
    expect(language.locator("option")).to_have_text(["any", "de (15)", "en (15)", "fr (15)"])
    for name in ("NSFW", "license"):  # of LAION's, and empty here
        expect(panel.get_by_label(name)).to_be_hidden()
    expect(panel.get_by_label("Site")).to_be_visible()
    page.goto(f"{dated.url}/?table=many")
    expect(page.locator("#grid img.shown").first).to_be_visible()
    orders = page.get_by_label("Sort").locator("option").all_text_contents()
    assert orders[0] == "as loaded"
    assert not any("similarity" in order for order in orders)


def test_a_column_may_have_any_name(dated: Watched) -> None:
    page = dated.open()
    control = {"kind": "own_values", "column": "__proto__", "fields": ["__proto__.is"]}
    filter = page.evaluate(
        """async (control) => {
          const { toFilter } = await import("/page/fields.js");
          return JSON.stringify(toFilter({ "__proto__.is": "p0" }, [control], new Set()));
        }""",
        control,
    )
    assert json.loads(filter) == {"__proto__": ["p0"]}


def test_a_long_scroll_drops_no_row_and_keeps_the_document_small(dated: Watched) -> None:
    page = dated.open("/?table=many")
    seen: dict[int, None] = {}
    most = 0
    while True:
        ids = page.evaluate(IDS)
        most = max(most, len(ids))
        assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True
        seen |= dict.fromkeys(ids)
        if len(seen) == MANY:
            break
        page.evaluate("window.scrollBy(0, innerHeight)")
        page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
    assert list(seen) == list(range(MANY))
    assert most <= 300
    below = "document.documentElement.scrollHeight - innerHeight - scrollY"
    last = page.locator(f'#grid .tile[data-id="{MANY - 1}"] .open')
    last.focus()
    page.keyboard.press("Home")
    expect(page.locator('#grid .tile[data-id="0"] .open')).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(page.locator('#grid .tile[data-id="0"] .open')).to_be_focused()
    page.keyboard.press("End")
    expect(last).to_be_focused()
    assert page.evaluate(below) < 900
    page.keyboard.press("/")
    page.keyboard.type("a word")
    expect(page.locator("#engine")).to_contain_text("recall")
    assert page.evaluate("scrollY") == 0
    page.fill("#words", "")
    expect(last).to_be_in_viewport()
