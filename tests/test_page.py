"""The search page as people use it: a real browser, the real service, and answers from numpy."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect

from browser import ELSEWHERE, Chromium, Watched, watched
from cliphouse.models import load_encoder
from cliphouse.server.settings import ServeSettings
from page_data import COPIED, COPIES, FETCHED, GONE, PageData
from serving import Served, serving

KEY = "a key that is long enough"
FOLD = 0.99  # from where the page folds near-duplicates by itself


@pytest.fixture
def watch(browser: Chromium, page_service: Served) -> Iterator[Watched]:
    with watched(browser, page_service.url) as seen:
        yield seen


@pytest.fixture
def online(watch: Watched, page_data: PageData) -> Watched:
    """The same, where the web answers with a picture."""
    watch.picture = (page_data.drawn.pictures / "picture_00001.jpg").read_bytes()
    return watch


def expected(
    page_data: PageData,
    vector: Any,
    modality: str = "image",
    folds: bool = True,
    keep: Callable[[int], bool] = lambda row: True,
) -> list[int]:
    """What the page shows: the rows that ``keep`` takes by similarity, where they are as near by
    id, without those too like a nearer one and the one whose picture is gone."""
    unit_rows = getattr(page_data.drawn, modality)
    unit_rows = unit_rows / np.linalg.norm(unit_rows, axis=1, keepdims=True)
    order = np.lexsort((np.arange(len(unit_rows)), -np.round(unit_rows @ unit(vector), 5)))
    shown: list[int] = []
    for row in map(int, order):
        if keep(row) and not (
            folds and shown and (unit_rows[shown] @ unit_rows[row]).max() >= FOLD
        ):
            shown.append(row)
    return [row for row in shown if row != page_data.row(GONE)]


def words_vector(words: str) -> Any:
    return load_encoder("tiny").encode_text([words])[0]


def expect_rows(watch: Watched, rows: list[int]) -> None:
    """The grid shows these rows first, once it has settled."""
    start = rows[:20]
    watch.page.wait_for_function(
        """ids => {
          const tiles = [...document.querySelectorAll("#grid .tile:not([hidden])")];
          return ids.every((id, i) => tiles[i]?.dataset.id === String(id));
        }""",
        arg=start,
    )


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def test_words_are_searched_as_they_are_typed(watch: Watched, page_data: PageData) -> None:
    page = watch.open()
    page.keyboard.press("/")
    page.keyboard.type("a red heart")
    expect_rows(watch, expected(page_data, words_vector("a red heart")))
    page.keyboard.press("Backspace")
    expect_rows(watch, expected(page_data, words_vector("a red hear")))
    expect(page).to_have_url(re.compile(r"\?q=a\+red\+hear$"))
    page.fill("#words", "")
    expect(page.locator("#welcome")).to_be_visible()
    expect_rows(watch, [row for row in range(len(page_data.urls)) if row != page_data.row(GONE)])


def test_an_outdated_search_is_cancelled(watch: Watched, page_data: PageData) -> None:
    page = watch.open()
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "slow" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/search", hold)

    def is_search(request: Request) -> bool:
        return request.url.endswith("/api/search")

    with page.expect_event("requestfailed", is_search) as failed:
        with page.expect_request("**/api/search"):
            page.fill("#words", "slow words")
        page.fill("#words", "a green star")
    assert "slow words" in (failed.value.post_data or "")
    expect_rows(watch, expected(page_data, words_vector("a green star")))
    assert len(held) == 1


def test_the_table_is_described_once_however_long_it_takes(
    watch: Watched, page_data: PageData
) -> None:
    """With each description the filters are made anew, and what is typed there would be lost."""
    held: list[Route] = []
    watch.page.route("**/api/start", lambda route: held.append(route))
    page = watch.open()
    for words in ("a red", "a red heart"):
        page.fill("#words", words)
        expect(page).to_have_url(re.compile(rf"\?q={words.replace(' ', '.')}$"))
    (route,) = held
    route.continue_()
    expect_rows(watch, expected(page_data, words_vector("a red heart")))
    assert len(held) == 1


@pytest.mark.parametrize("way", ["chosen", "dropped", "pasted", "address", "dropped address"])
def test_a_picture_is_searched(watch: Watched, page_data: PageData, way: str) -> None:
    path = page_data.drawn.pictures / "picture_00007.jpg"
    page = watch.open()
    expect(page.locator("#grid .tile").first).to_be_visible()
    if way == "chosen":
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose a picture").click()
        chooser.value.set_files(path)
    elif way == "address":
        page.fill("#words", FETCHED)
        page.keyboard.press("Enter")
    elif way == "dropped address":
        _give(page, "drop", address=FETCHED)
    else:
        _give(page, "drop" if way == "dropped" else "paste", path)
    expect(page.locator("#chips .chip")).to_have_count(1)
    vector = load_encoder("tiny").encode_image([Image.open(path).convert("RGB")])[0]
    expect_rows(watch, expected(page_data, vector)[:8])
    assert watch.ids()[0] == page_data.row("picture_00007")
    is_private = "address" not in way
    expect(page.locator("#private")).to_be_visible(visible=is_private)
    assert ("part=" in page.url) is not is_private


def _give(page: Page, event: str, path: Path | None = None, address: str = "") -> None:
    """A file or an address, as a browser hands over what is dropped or pasted."""
    page.evaluate(
        """([event, text, address]) => {
          const transfer = new DataTransfer();
          if (text) {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], "mine.jpg", { type: "image/jpeg" }));
          }
          if (address) transfer.setData("text/uri-list", address);
          const options = { bubbles: true, cancelable: true };
          document.body.dispatchEvent(event === "paste"
            ? new ClipboardEvent("paste", { ...options, clipboardData: transfer })
            : new DragEvent("drop", { ...options, dataTransfer: transfer }));
        }""",
        [event, base64.b64encode(path.read_bytes()).decode() if path else "", address],
    )


def test_a_large_picture_is_made_small_before_it_is_sent(watch: Watched, tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (1200, 1600, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    page = watch.open()
    with page.expect_request("**/api/search") as request:
        page.set_input_files("#file", tmp_path / "large.png")
    body = json.loads(request.value.post_data or "")
    sent = base64.b64decode(body["operands"][0]["picture"])
    assert len(sent) < (tmp_path / "large.png").stat().st_size / 4
    expect(page.locator("#grid .tile").first).to_be_visible()


def test_what_is_no_picture_is_said_to_be_none(watch: Watched, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    page = watch.open()
    page.set_input_files("#file", tmp_path / "notes.txt")
    expect(page.locator("#toast")).to_have_text("This file is not a picture")


def test_more_like_this_then_words_and_rows_with_weights(
    watch: Watched, page_data: PageData
) -> None:
    page = watch.open("/?q=a+red+heart")
    first = expected(page_data, words_vector("a red heart"))[0]
    tile = page.locator(f'#grid .tile[data-id="{first}"]')
    tile.hover()
    tile.get_by_role("button", name="More like this").click()
    image = page_data.drawn.image
    expect_rows(watch, expected(page_data, image[first]))
    expect(page.locator("#words")).to_have_value("")
    second = watch.ids()[3]
    page.locator(f'#grid .tile[data-id="{second}"]').hover()
    page.locator(f'#grid .tile[data-id="{second}"] .act').last.click()
    total = unit(image[first]) - unit(image[second])
    expect_rows(watch, expected(page_data, total))
    page.get_by_role("spinbutton").first.fill("2.5")
    page.keyboard.press("Tab")
    total = 2.5 * unit(image[first]) - unit(image[second])
    expect_rows(watch, expected(page_data, total))
    page.fill("#words", "a star")
    page.get_by_role("button", name="Subtract these words").click()
    expect(page.locator("#chips .chip.minus")).to_have_count(2)
    total = total - unit(words_vector("a star"))
    expect_rows(watch, expected(page_data, total))
    page.get_by_role("button", name="Subtracted: a star. Add it").click()
    expect_rows(watch, expected(page_data, total + 2 * unit(words_vector("a star"))))
    page.get_by_role("button", name="Remove a star").click()
    expect_rows(watch, expected(page_data, total + unit(words_vector("a star"))))


def test_everything_subtracted_is_explained(watch: Watched) -> None:
    page = watch.open()
    page.fill("#words", "a star")
    page.get_by_role("button", name="Subtract these words").click()
    expect(page.get_by_role("alert")).to_contain_text("everything is subtracted")
    expect(page.locator("#grid .tile")).to_have_count(0)
    assert watch.errors.pop() and watch.errors == []  # the browser logs the answer's status 400


def test_modality_and_mode(watch: Watched, page_data: PageData) -> None:
    page = watch.open("/?q=a+blue+circle")
    page.get_by_role("radio", name="Captions").check()
    expect_rows(watch, expected(page_data, words_vector("a blue circle"), "text"))
    page.get_by_role("radio", name="Pictures").check()
    page.get_by_text("Options", exact=True).click()
    for mode in ("exact", "hnsw"):
        page.get_by_label("Mode").select_option(mode)
        expect(page.locator("#engine")).to_contain_text(mode)
        expect(page).to_have_url(re.compile(f"mode={mode}"))
    page.keyboard.press("Escape")
    expect(page.get_by_label("Mode")).to_be_hidden()


def test_the_status_line_says_what_the_engine_did(watch: Watched, page_data: PageData) -> None:
    page = watch.open("/?q=a+star&mode=exact&dedup=off")
    expect(page.locator("#engine")).to_contain_text(re.compile(r"exact · recall@k 1\.000 · "))
    expect(page.locator("#engine")).to_contain_text(re.compile(r"\d+ ms query \+ \d+ ms search"))
    expect(page.locator("#count")).to_contain_text(re.compile(r"^\d+ pictures"))


def test_filters(online: Watched, page_data: PageData) -> None:
    web = page_data.web
    page = online.open("/?table=web&part=1:row:3&dedup=off")
    unit_rows = page_data.web_image / np.linalg.norm(page_data.web_image, axis=1, keepdims=True)
    order = [int(i) for i in np.argsort(-(unit_rows @ unit_rows[3]))]
    shown = [i for i in order if i % 4]  # the others' host does not answer

    def rows(keep: Any) -> list[int]:
        return [i for i in shown if keep(i)]

    hidden = [i for i in shown if web["NSFW"][i] != "NSFW"]
    assert len(hidden) < len(shown)
    expect_rows(online, hidden)
    page.locator("#filters-menu summary").click()
    page.get_by_label("NSFW").select_option("strict")
    expect_rows(online, rows(lambda i: web["NSFW"][i] == "UNLIKELY"))
    page.get_by_label("NSFW").select_option("show")
    expect_rows(online, shown)
    wide = page.get_by_role("group", name="Width in pixels")
    wide.get_by_label("from").fill("300")
    wide.get_by_label("to").fill("700")
    expect_rows(online, rows(lambda i: 300 <= web["width"][i] <= 700))
    expect(page.locator("#filters-count")).to_have_text("3")
    page.get_by_label("License").select_option("cc-by")
    page.get_by_label("Caption contains").fill("PICTURE 2")
    expect_rows(
        online,
        rows(lambda i: 300 <= web["width"][i] <= 700 and i % 3 and f"{i}".startswith("2")),
    )
    page.get_by_role("button", name="Clear filters").click()
    expect_rows(online, hidden)
    page.get_by_label("Site").fill("pictures.example")
    expect(page.locator("#count")).to_have_text(f"{len(hidden)} pictures")
    pair = page.get_by_role("group", name="Similarity of picture and caption")
    pair.get_by_label("from").fill("0.3")
    keep = [i for i in hidden if np.float32(web["similarity"][i]) >= np.float32(0.3)]
    expect(page.locator("#count")).to_have_text(f"{len(keep)} pictures")
    expect_rows(online, keep)
    expect(page.locator("#engine")).to_have_attribute("title", re.compile("filter"))


def test_pictures_of_the_web_come_from_their_url_without_a_referrer(online: Watched) -> None:
    page = online.open("/?table=web&part=1:row:3&dedup=off&url_host=pictures.example")
    expect(page.locator("#grid img.shown").first).to_be_visible()
    fetched = [r for r in online.foreign if r["url"].startswith(ELSEWHERE)]
    assert fetched
    assert all("referer" not in request["headers"] for request in fetched)


def test_scrolling_goes_to_the_end_without_repeats(watch: Watched, page_data: PageData) -> None:
    page = watch.open("/?q=a+purple+arrow&dedup=off&mode=exact")
    everything = expected(page_data, words_vector("a purple arrow"), folds=False)
    expect(page.locator("#grid .tile").first).to_be_visible()
    for _ in range(20):
        if not page.locator("#more").is_visible():
            break
        before = page.locator("#grid .tile").count()
        page.mouse.wheel(0, 20_000)
        page.wait_for_function(
            "n => document.querySelectorAll('#grid .tile').length > n"
            " || document.getElementById('more').hidden",
            arg=before,
        )
    page.locator(f'#grid .tile[data-id="{page_data.row(GONE)}"]').wait_for(state="hidden")
    expect(page.locator("#more")).to_be_hidden()
    assert sorted(watch.ids()) == sorted(everything)
    similarities = page_data.drawn.image @ words_vector("a purple arrow")
    similarities /= np.linalg.norm(page_data.drawn.image, axis=1)
    shown = [similarities[i] for i in watch.ids()]
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(shown))


def test_near_duplicates_are_folded_and_counted(watch: Watched, page_data: PageData) -> None:
    first = page_data.row(COPIED)
    page = watch.open(f"/?part=1:row:{first}")
    expect(page.locator("#grid .tile").first).to_be_visible()
    copies = {page_data.row(f"{COPIED}_copy{number}") for number in range(COPIES)} | {first}
    shown = [i for i in watch.ids() if i in copies]
    assert len(shown) == 1
    folded = page.locator(f'#grid .tile[data-id="{shown[0]}"] .folded')
    expect(folded).to_contain_text(f"+{COPIES}")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Near-duplicates").select_option("show all")
    page.wait_for_function(
        "n => document.querySelectorAll('#grid .folded').length === 0"
        " && document.querySelectorAll('#grid .tile').length >= n",
        arg=COPIES + 1,
    )
    assert copies <= set(watch.ids())


def test_what_will_not_load_is_hidden_and_counted(watch: Watched, page_data: PageData) -> None:
    row = page_data.row(GONE)
    page = watch.open(f"/?part=1:row:{row}")
    expect(page.locator("#count")).to_contain_text("1 hidden that will not load")
    expect(page.locator(f'#grid .tile[data-id="{row}"]')).to_be_hidden()


def test_pictures_keep_their_shapes_and_fill_their_rows(
    watch: Watched, page_data: PageData
) -> None:
    page = watch.open()
    expect(page.locator("#grid img.shown").first).to_be_visible()
    expect(page.locator("#count")).to_contain_text("1 hidden")
    boxes = page.locator("#grid .tile:not([hidden])").evaluate_all(
        """tiles => tiles.map(t => {
          const b = t.querySelector(".frame").getBoundingClientRect();
          return { id: Number(t.dataset.id), x: b.x, y: b.y, width: b.width, height: b.height };
        })"""
    )
    for box in boxes:
        with Image.open(page_data.urls[box["id"]]) as image:
            shape = image.width / image.height
        assert box["width"] / box["height"] == pytest.approx(shape, rel=0.02)
    grid = page.locator("#grid").bounding_box()
    assert grid is not None
    rows: dict[float, float] = {}
    for box in boxes:
        rows[round(box["y"])] = max(rows.get(round(box["y"]), 0), box["x"] + box["width"])
    edges = [rows[y] for y in sorted(rows)][:-1]
    assert len(edges) > 1
    assert all(abs(edge - (grid["x"] + grid["width"])) < 3 for edge in edges)
    assert page.locator("#grid img[loading=lazy]").count() == page.locator("#grid img").count()


def test_the_detail_view(watch: Watched, page_data: PageData) -> None:
    page = watch.open("/?q=a+yellow+star")
    rows = expected(page_data, words_vector("a yellow star"))
    expect_rows(watch, rows)
    page.locator("#grid .open").nth(1).click()
    dialog = page.get_by_role("dialog")
    row = watch.ids()[1]
    expect(dialog.get_by_role("heading", level=2)).to_have_text(page_data.captions[row])
    known = dialog.locator("dl.known")
    for name in ("id", "url", "caption", "NSFW", "similarity", "width", "height", "license"):
        expect(known.locator("dt", has_text=re.compile(f"^{name}$"))).to_have_count(1)
    expect(known).to_contain_text(page_data.urls[row])
    for modality in ("image", "text"):
        vectors = getattr(page_data.drawn, modality)
        near = [i for i in page_data.drawn.nearest(vectors[row], modality) if i != row][:12]
        links = dialog.locator(f"[data-modality={modality}] a")
        expect(links).to_have_count(12)
        captions = links.evaluate_all("links => links.map(a => a.title)")
        assert captions == [page_data.captions[i] for i in near]
    for name, value in (
        ("Copy caption", page_data.captions[row]),
        ("Copy address", page_data.urls[row]),
        ("Copy id", str(row)),
    ):
        dialog.get_by_role("button", name=name).click()
        expect(page.locator("#toast")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == value


def test_arrows_go_through_the_results_and_escape_comes_back(
    watch: Watched, page_data: PageData
) -> None:
    page = watch.open("/?q=a+yellow+star")
    expect(page.locator("#grid img.shown").first).to_be_visible()
    ids = [
        int(i) for i in page.locator("#grid .tile").evaluate_all("ts => ts.map(t => t.dataset.id)")
    ]
    page.locator("#grid .open").first.click()
    title = page.get_by_role("dialog").get_by_role("heading", level=2)
    expect(title).to_be_visible()
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("ArrowLeft", 0),
        ("ArrowLeft", 0),
    ):
        page.keyboard.press(key)
        expect(title).to_have_text(page_data.captions[ids[place]])
        expect(page).to_have_url(re.compile(f"item={ids[place]}$"))
        expect(page.locator(".place")).to_contain_text(f"{place + 1} of ")
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(f"item={ids[1]}$"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"\?q=a\+yellow\+star$"))
    expect(page.locator(f'#grid .tile[data-id="{ids[1]}"] .open')).to_be_focused()
    page.go_forward()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_neighbours_open_in_turn_and_the_view_closes_at_once(watch: Watched) -> None:
    page = watch.open("/?q=a+star")
    page.locator("#grid .open").first.click()
    for _ in range(2):
        link = page.locator("[data-modality=text] a").nth(2)
        caption = link.get_attribute("title")
        link.click()
        expect(page.get_by_role("dialog").get_by_role("heading", level=2)).to_have_text(caption)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"\?q=a\+star$"))
    page.locator("#grid .open").first.click()
    page.get_by_role("dialog").get_by_role("button", name="More like this").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#chips .chip")).to_have_count(1)


def test_the_address_holds_the_search(watch: Watched, page_data: PageData) -> None:
    page = watch.open()
    page.fill("#words", "a green heart")
    expect(page).to_have_url(re.compile("q=a"))
    page.get_by_role("button", name="Add these words").click()
    page.get_by_role("spinbutton").first.fill("3")
    page.keyboard.press("Tab")
    page.get_by_role("radio", name="Captions").check()
    page.locator("#filters-menu summary").click()
    page.get_by_label("Caption contains").fill("green")
    expect(page).to_have_url(re.compile("caption_contains=green"))
    rows = expected(
        page_data,
        words_vector("a green heart"),
        "text",
        keep=lambda row: "green" in page_data.captions[row],
    )
    expect_rows(watch, rows[:10])
    shared = page.url
    steps = len({"chip", "weight", "modality", "filter"})
    other = watch.page.context.new_page()
    other.goto(shared)
    first = other.locator("#grid .tile").first
    expect(first).to_have_attribute("data-id", str(rows[0]))
    expect(other.locator("#chips .label")).to_have_text("a green heart")
    expect(other.get_by_role("spinbutton").first).to_have_value("3")
    other.close()
    for _ in range(steps):
        page.go_back()
    expect(page.locator("#words")).to_have_value("a green heart")
    expect_rows(watch, expected(page_data, words_vector("a green heart")))
    page.go_back()
    expect(page.locator("#welcome")).to_be_visible()
    page.go_forward()
    expect_rows(watch, expected(page_data, words_vector("a green heart")))


def test_a_shared_row_opens_alone_and_closes_to_the_search(
    watch: Watched, page_data: PageData
) -> None:
    page = watch.open("/?item=7")
    heading = page.get_by_role("dialog").get_by_role("heading", level=2)
    expect(heading).to_have_text(page_data.captions[7])
    page.get_by_role("button", name="Close").click()
    expect(page).to_have_url(watch.url + "/")
    page.goto(watch.url + "/?item=999999")
    expect(page.get_by_role("alert").last).to_contain_text("no row 999999")
    watch.errors.clear()


def test_results_are_downloaded(watch: Watched, page_data: PageData, tmp_path: Path) -> None:
    page = watch.open("/?q=a+star&mode=exact&dedup=off")
    expect(page.locator("#grid .tile").first).to_be_visible()
    nearest = page_data.drawn.nearest(words_vector("a star"))[:50]
    captions = [page_data.captions[row] for row in nearest]  # copies are as near, and alike
    page.get_by_text("Export", exact=True).click()
    page.get_by_label("Number of results").fill("50")
    readers = {
        "JSON": lambda path: [hit["id"] for hit in json.loads(path.read_text())["hits"]],
        "CSV": lambda path: pa_csv.read_csv(path).column("id").to_pylist(),
        "Parquet": lambda path: pq.read_table(path).column("id").to_pylist(),
    }
    for name, read in readers.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        path = tmp_path / download.value.suggested_filename
        assert path.suffix == f".{name.lower()}"
        download.value.save_as(path)
        assert [page_data.captions[row] for row in read(path)] == captions


def test_the_search_is_copied(watch: Watched, page_service: Served) -> None:
    page = watch.open("/?q=it's+a+star")
    expect(page.locator("#grid .tile").first).to_be_visible()
    page.get_by_text("Export", exact=True).click()
    for name, part in (
        ("command", """cliphouse search"""),
        ("Python", '''"it's a star"'''),
        ("SQL", r"encode_text('it\'s a star')"),
        ("link", f"{page_service.url}/?q=it%27s+a+star"),
    ):
        page.get_by_role("button", name=f"Copy {name}").click()
        # On a busy machine the browser takes seconds to write to the clipboard.
        told = re.compile(f"{name}.*copied", re.IGNORECASE)
        expect(page.locator("#toast")).to_contain_text(told, timeout=30_000)
        page.wait_for_function(
            "async part => (await navigator.clipboard.readText()).includes(part)", arg=part
        )


def test_the_dataset_view(watch: Watched, page_data: PageData) -> None:
    page = watch.open()
    page.get_by_role("link", name="Dataset").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("Table laion")
    facts = page.locator("dl.facts")
    expect(facts).to_contain_text(f"rows{len(page_data.captions)}")
    expect(facts).to_contain_text("modeltiny")
    titles = page.locator("figcaption")
    expect(titles.filter(has_text="Recall against time")).to_be_visible()
    table = page.get_by_role("region", name="Measured recall")
    expect(table.locator("tbody tr").first).to_contain_text("exact")
    page.goto(f"{watch.url}/?view=dataset&table=web")
    for title in ("Similarity of picture and caption", "Width", "Height", "NSFW", "License"):
        expect(titles.filter(has_text=re.compile(f"^{title}$"))).to_be_visible()
    nsfw = page.locator("figure", has_text="NSFW").locator("rect title")
    labels = [str(label) for label in page_data.web["NSFW"]]
    assert nsfw.all_text_contents() == [
        f"{label}: {labels.count(label)} rows" for label in ("UNLIKELY", "NSFW", "UNSURE")
    ]
    sites = page.locator("figure", has_text="Top sites").locator("rect title")
    assert sites.all_text_contents()[0] == "pictures.example: 30 rows"
    width = page.locator("figure", has_text="Width").locator("rect title").all_text_contents()
    counts = [int(re.search(r": (\d+) rows", text)[1]) for text in width]  # type: ignore[index]
    assert sum(counts) == len(page_data.web["width"])
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.locator("#welcome")).to_be_visible()
    for view in ("dataset", "duplicates"):
        page.goto(f"{watch.url}/?view={view}&table=none")
        expect(page.get_by_role("alert")).to_contain_text("no table 'none'")
    watch.errors.clear()  # the browser logs the answers' status


def test_by_keyboard_alone(watch: Watched, page_data: PageData) -> None:
    page = watch.open()
    expect(page.locator("#grid .tile").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("a red star")
    expect_rows(watch, expected(page_data, words_vector("a red star")))
    page.keyboard.press("Enter")
    for _ in range(16):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#grid .open')"):
            break
    links = page.locator("#grid .tile:not([hidden]) .open")
    expect(links.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    expect(links.first).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#grid .tile").first.get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Escape")
    expect(links.first).to_be_focused()


def test_another_table(online: Watched, page_data: PageData) -> None:
    page = online.open("/?q=a+star")
    expect(page.locator("#grid .tile").first).to_be_visible()
    page.get_by_label("Table").select_option("web")
    expect(page).to_have_url(re.compile("table=web"))
    expect(page.locator("#grid .caption .words").first).to_contain_text("of the web")
    page.go_back()
    expect(page.locator("#grid .caption .words").first).not_to_contain_text("of the web")


def test_a_service_with_keys_asks_for_one(browser: Chromium, page_data: PageData) -> None:
    from cliphouse.server.keys import hash_key

    settings = ServeSettings(
        db=str(page_data.drawn.db), pictures=(page_data.drawn.pictures,), keys=(hash_key(KEY),)
    )
    with serving(settings) as locked, watched(browser, locked.url) as seen:
        page = seen.open("/?q=a+star")
        dialog = page.get_by_role("dialog")
        for key in ("not this one, surely", KEY):
            expect(dialog).to_be_visible()
            dialog.get_by_label("API key").fill(key)
            page.keyboard.press("Enter")
            if key != KEY:
                expect(dialog.get_by_role("alert")).to_have_text(
                    "The service does not know this key."
                )
        expect(page.locator("#grid img.shown").first).to_be_visible()
        assert all("401" in error for error in seen.errors)
        seen.errors.clear()
        page.get_by_text("Export", exact=True).click()
        page.get_by_role("button", name="Copy link with key").click()
        expect(page.locator("#toast")).to_contain_text("copied", timeout=30_000)
        shared = page.evaluate("navigator.clipboard.readText()")
        assert shared.startswith(f"{locked.url}/?q=a+star#key=")
        other = page.context.new_page()
        asked: list[str] = []
        other.on("request", lambda request: asked.append(request.url))
        other.goto(shared)
        expect(other.locator("#grid img.shown").first).to_be_visible()
        expect(other).to_have_url(f"{locked.url}/?q=a+star")
        assert not any("key=" in url.partition("#")[0] for url in asked)
        late = page.context.new_page()  # it is open and asks for a key when the link is pasted
        late.goto("/?q=a+star")
        expect(late.get_by_role("dialog")).to_be_visible()
        late.goto(shared)
        expect(late.locator("#grid img.shown").first).to_be_visible()
        expect(late).to_have_url(f"{locked.url}/?q=a+star")


def test_a_service_that_is_gone_is_said_to_be(watch: Watched) -> None:
    page = watch.open("/?q=a+star")
    expect(page.locator("#grid .tile").first).to_be_visible()
    page.route("**/api/search", lambda route: route.abort())
    page.fill("#words", "a heart")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/api/search")
    page.fill("#words", "a red heart")
    expect(page.locator("#grid .tile").first).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()
    watch.errors.clear()
