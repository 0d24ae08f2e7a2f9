"""Photographs on the page and in the lists it asks for: by date, by folder, by name, on the map."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from browser import Chromium, Watched, watched
from cliphouse.server.keys import hash_key
from cliphouse.server.settings import ServeSettings
from cliphouse.vocabulary import Progress
from photographs import (
    CAPTIONS,
    DAYS,
    EVIL,
    FOLDER,
    FOLDERS,
    FRAME,
    IN_ORDER,
    KEYWORDS,
    LATITUDES,
    LONGITUDES,
    NAMES,
    NEAR,
    OTHER_FRAME,
    PLACES,
    PLAIN,
    ROWS,
    SAME,
    SECONDS,
    TITLES,
    TOWNS,
    Photographs,
    load_photographs,
)
from serving import Served, serving
from test_page_looks import SIZES, View, look_at, seen_at

VALUES: dict[str, Sequence[Any]] = {
    "id": range(ROWS),
    "taken": DAYS,
    "latitude": LATITUDES,
    "file_name": NAMES,
}
SEEN = """() => [...document.querySelectorAll("#grid .tile")].filter((tile) => {
  const box = tile.getBoundingClientRect();
  return box.bottom > 90 && box.top < innerHeight;
}).map((tile) => Number(tile.dataset.id))"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    return load_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def served(made: Photographs) -> Iterator[Served]:
    settings = ServeSettings(db=str(made.db), tables=("laion", "plain"), pictures=(made.pictures,))
    with serving(settings) as running:
        yield running


@pytest.fixture
def watch(browser: Chromium, served: Served) -> Iterator[Watched]:
    with watched(browser, served.url) as seen:
        yield seen


def post(served: Served, path: str, **body: Any) -> Any:
    answer = served.http.post(path, json=body)
    return answer.json() if answer.status_code == 200 else answer


def in_order(sort: str) -> list[int]:
    values = VALUES[sort.removeprefix("-")]
    known = [row for row in range(ROWS) if values[row] is not None]
    known.sort(key=lambda row: values[row], reverse=sort.startswith("-"))
    return known + [row for row in range(ROWS) if values[row] is None]


def expect_first(seen: Watched, rows: list[int]) -> None:
    """The grid shows these rows first, once it has settled."""
    seen.page.wait_for_function(
        """ids => {
          const tiles = [...document.querySelectorAll("#grid .tile")];
          return ids.every((id, i) => tiles[i]?.dataset.id === String(id));
        }""",
        arg=rows[:20],
    )


def month_of(row: int) -> str | None:
    day = DAYS[row]
    return f"{day:%Y-%m}" if day else None


@pytest.mark.parametrize("sort", ["id", "-id", "taken", "-taken", "-latitude", "file_name"])
def test_a_list_begins_anywhere_and_goes_back_from_there(served: Served, sort: str) -> None:
    order = in_order(sort)
    values = VALUES[sort.removeprefix("-")]
    for value in dict.fromkeys((values[order[0]], values[order[150]], values[order[-1]])):
        at = next(place for place, row in enumerate(order) if values[row] == value)
        start = {"value": str(value) if isinstance(value, datetime) else value}
        found = post(served, "/api/rows", sort=sort, start=start, k=1000)
        assert [row["id"] for row in found["rows"]] == order[at:]
        back: list[int] = []
        cursor = None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = post(served, "/api/rows", sort=sort, start=start, before=True, k=70, **more)
            back += [row["id"] for row in page["rows"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert back == order[:at][::-1]
    page = post(served, "/api/rows", sort=sort, k=10)
    other = post(served, "/api/rows", sort=sort, k=10, before=True, cursor=page["cursor"])
    assert other.status_code == 400
    assert "cursor" in other.json()["error"]["message"]


def test_words_are_found_in_names_captions_titles_and_keywords(served: Served) -> None:
    def texts(row: int) -> str:
        return " ".join([CAPTIONS[row], NAMES[row], TITLES[row] or "", *KEYWORDS[row]]).lower()

    for words in ("needle", "img_1007", "HOLIDAY", "needle thread", "holiday IMG_1", EVIL, "100%"):
        listed = post(served, "/api/rows", mention=words, k=1000)["rows"]
        every = [
            row for row in range(ROWS) if all(word in texts(row) for word in words.lower().split())
        ]
        assert [row["id"] for row in listed] == every, words
    assert post(served, "/api/rows", mention="a " * 31).status_code == 400


def test_groups_are_months_and_folders_and_what_is_wrong_is_refused(served: Served) -> None:
    months = Counter(map(month_of, range(ROWS)))
    found = post(served, "/api/groups", column="taken")
    assert found["are_all"]
    assert {group["value"]: group["rows"] for group in found["groups"]} == months
    values = [group["value"] for group in found["groups"]]
    assert values == [*sorted(value for value in values if value), None]
    found = post(served, "/api/groups", column="folder", filter={"folder": {"under": "2016"}})
    below = [row for row in range(ROWS) if f"{FOLDER[row]}/".startswith("2016/")]
    counts = Counter(FOLDER[row] for row in below)
    assert {group["value"]: group["rows"] for group in found["groups"]} == counts
    firsts = {group["value"]: group["first"] for group in found["groups"]}
    assert firsts == {name: FOLDER.index(name) for name in counts}
    for sort, value in (("taken", "yesterday"), ("latitude", "north"), ("id", "x")):
        assert post(served, "/api/rows", sort=sort, start={"value": value}).status_code == 400
    for column in ("latitude", "keywords", "nothing"):
        assert post(served, "/api/groups", column=column).status_code == 400
    assert post(served, "/api/rows", filter={"taken": {"under": "x"}}).status_code == 400


def test_places_are_clustered_by_cells(served: Served) -> None:
    found = post(served, "/api/places", cell=2)["places"]
    towns = Counter(row % 4 for row in range(ROWS) if PLACES[row])
    assert [place["rows"] for place in found] == sorted(towns.values(), reverse=True)
    for place in found:
        town = next(i for i, (north, _) in enumerate(TOWNS) if abs(north - place["latitude"]) < 1)
        rows = [row for row in range(ROWS) if row % 4 == town]
        box = place["box"]
        assert (box["south"], box["north"]) == (
            min(LATITUDES[row] or 0 for row in rows),
            max(LATITUDES[row] or 0 for row in rows),
        )
        assert place["longitude"] == pytest.approx(
            sum(LONGITUDES[row] or 0 for row in rows) / len(rows)
        )
        assert place["picture"]["id"] in rows
    south = post(served, "/api/places", box={"north": 0}, cell=2)["places"]
    assert [round(place["latitude"]) for place in south] == [-34]
    assert post(served, "/api/places", table="plain").status_code == 400


def test_the_page_is_told_to_ask_at_once(served: Served) -> None:
    for address, path in (
        ("/", "/api/start"),
        ("/?table=plain&item=3", "/api/start?table=plain"),
        ("/?q=a&table=no%20%3E%22", "/api/info?table=no%20%3E%22"),
    ):
        link = served.http.get(address).headers["link"]
        assert link == f"<{path}>; rel=preload; as=fetch; crossorigin"
    answer = served.http.get("/api/start").json()
    assert answer["info"] == served.http.get("/api/info").json()
    listed = answer["list"]
    assert (listed["sort"], listed["filter"]) == ("-taken", {"nsfw_not_in": ["NSFW"]})
    assert [row["id"] for row in listed["rows"]] == in_order("-taken")[:60]
    assert served.http.get("/api/start?table=plain").json()["list"]["sort"] == "id"


def test_all_photographs_by_date(watch: Watched) -> None:
    order = in_order("-taken")
    asked: list[str] = []
    watch.page.on("request", lambda request: asked.append(request.url.partition("/api/")[2]))
    page = watch.open()
    expect_first(watch, order)
    expect(page.locator("#grid img.shown").first).to_be_visible()
    scrubber = page.get_by_role("slider", name="Go to")
    expect(scrubber).to_have_attribute("aria-valuetext", re.compile("December 2018, 10 pictures"))
    data = [name for name in asked if name and not name.startswith("image/")]
    assert data == ["start", "groups"]
    counted = f"{ROWS} pictures, sorted by date taken, newest first"
    expect(page.locator("#count")).to_have_text(counted)  # of which some are loaded
    # The strip: a click at two thirds, which is a month that is not loaded.
    box = scrubber.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] * 0.7)
    expect(page.locator(".bubble")).to_be_visible()
    watch.shoot("scrubbing-desktop-light")
    page.mouse.down()
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"at=201\d-\d\d$"))
    month = page.url.rpartition("=")[2]
    first = next(place for place, row in enumerate(order) if month_of(row) == month)
    expect_first(watch, order[first:])
    shown = page.locator("#grid .group").first.text_content() or ""
    expect(scrubber).to_have_attribute("aria-valuetext", re.compile(re.escape(shown)))
    # What comes before is put above what is seen, which stays where it is.
    tile = page.locator(f'#grid .tile[data-id="{order[first]}"]')
    top = tile.bounding_box()
    page.get_by_role("button", name="Show what comes before").click()
    page.wait_for_function(f"() => ({SEEN})().length && scrollY > 200")
    now = tile.bounding_box()
    assert top is not None
    assert now is not None
    assert abs(now["y"] - top["y"]) < 60
    loaded = page.evaluate("""() => new Promise((done) => {
      scrollTo(0, 0);
      requestAnimationFrame(() => requestAnimationFrame(() => done(
        [...document.querySelectorAll("#grid .tile")].map((tile) => Number(tile.dataset.id)))));
    })""")
    assert loaded == order[first - 120 : first - 120 + len(loaded)]
    # By keyboard: to the end, which is what has no date, and back to the beginning.
    scrubber.focus()
    page.keyboard.press("End")
    expect(scrubber).to_have_attribute("aria-valuetext", "No date, 40 pictures")
    expect(page).to_have_url(re.compile("at=none$"))
    expect(page.locator("#grid .group")).to_have_text(["No date"])
    page.keyboard.press("Home")
    expect(page).to_have_url(watch.url + "/")
    expect_first(watch, order)
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    watch.inspect()
    page.set_viewport_size({"width": 1280, "height": 720})
    page.emulate_media(color_scheme="light")
    _words_in_names_are_told_apart_from_meaning(watch)


def _words_in_names_are_told_apart_from_meaning(watch: Watched) -> None:
    page = watch.page
    kinds = page.get_by_role("group", name="Find by")
    expect(kinds).to_be_hidden()
    page.fill("#words", "img_1007")
    expect(page.locator("#engine")).to_contain_text("recall")
    by_words = kinds.get_by_role("button", name="In names and captions")
    expect(by_words).to_have_accessible_name("In names and captions 1")
    by_words.click()
    expect(page.locator("#grid .tile")).to_have_count(1)
    assert watch.ids() == [7]
    expect(page).to_have_url(re.compile(r"\?q=img_1007&by=words$"))
    page.fill("#words", "needle")
    found = [row for row in in_order("-taken") if CAPTIONS[row] == "a needle" or TITLES[row]]
    page.wait_for_function(
        "n => document.querySelectorAll('#grid .tile').length === n", arg=len(found)
    )
    assert watch.ids() == found
    expect(by_words).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#count")).to_contain_text(f"{len(found)} pictures")
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON", exact=True).click()
    listed = json.loads(download.value.path().read_text())["rows"]
    assert [(row["id"], row["caption"]) for row in listed] == [(n, CAPTIONS[n]) for n in found]
    page.get_by_role("button", name="Copy SQL").click()
    expect(page.locator("#toast")).to_contain_text("Only a search by meaning")
    page.keyboard.press("Escape")
    kinds.get_by_role("button", name="Alike in meaning").click()
    expect(page.locator("#engine")).to_contain_text("recall")
    page.go_back()
    expect(by_words).to_have_attribute("aria-pressed", "true")
    page.fill("#words", "")
    expect(page.locator("#welcome")).to_be_visible()
    expect(kinds).to_be_hidden()


def test_one_photograph_in_its_folder_with_its_duplicates(
    watch: Watched, made: Photographs, tmp_path: Path
) -> None:
    row = SAME[0]  # in 2016/Rome
    page = watch.open(f"/?part=1:row:{row}&dedup=off&mode=exact&item={row}")
    dialog = page.get_by_role("dialog")
    duplicates = dialog.get_by_role("region", name="Duplicates")
    expect(duplicates.get_by_role("heading")).to_have_text("2 duplicates")
    notes = duplicates.locator(".match")
    expect(notes).to_have_text(["same file", re.compile(r"0\.9\d\d alike")])
    told = dialog.locator(".facts-of")
    day = DAYS[row]
    assert day is not None
    expect(told).to_contain_text(f"Taken{day:%A}, {day.day} {day:%B %Y}, {day:%H:%M:%S}")
    expect(told).to_contain_text("Size320 × 240 pixels, 1.23 MB")
    expect(told).to_contain_text(f"CameraCamera {EVIL}")
    expect(told).to_contain_text("LensNIKKOR Z 24-70mm f/4 S")
    expect(told).to_contain_text("Exposure1/125 s, f/2.8, ISO 200, 35 mm")
    with page.context.expect_page() as opened:
        dialog.get_by_role("link", name="Open", exact=True).click()
    size = "[document.images[0].naturalWidth, document.images[0].naturalHeight]"
    opened.value.wait_for_load_state()
    assert opened.value.evaluate(size) == [64, 48]
    opened.value.close()
    assert page.evaluate("window.pwned") is None
    # Through its folder, whatever the results are.
    same_folder = [other for other in range(ROWS) if FOLDER[other] == FOLDER[row]]
    heading = dialog.get_by_role("heading", level=2)
    dialog.get_by_role("button", name="Next in the folder").click()
    after = same_folder[same_folder.index(row) + 1]
    expect(heading).to_have_text(CAPTIONS[after])
    dialog.get_by_role("button", name="Previous in the folder").click()
    expect(page).to_have_url(re.compile(f"item={row}$"))
    expect(heading).to_have_text(CAPTIONS[row])
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    dialog.locator(".crumbs a").first.scroll_into_view_if_needed()
    watch.inspect()
    page.set_viewport_size({"width": 1280, "height": 720})
    # The duplicates are selected, listed in a file, and hidden.
    duplicates.get_by_role("button", name="Select all of them").click()
    bar = page.get_by_role("region", name="Selected pictures")
    expect(bar.get_by_role("status")).to_have_text("3 selected")
    with page.expect_download() as download:
        bar.get_by_role("button", name="File list").click()
    download.value.save_as(tmp_path / "list.txt")
    lines = (tmp_path / "list.txt").read_text().splitlines()
    assert sorted(lines) == sorted(str(made.path(row)) for row in (*SAME, NEAR))
    bar.get_by_role("button", name="Hide").click()
    expect(page.locator(f'#grid .tile[data-id="{row}"]')).to_have_count(0)
    assert not set(watch.ids()) & {*SAME, NEAR}
    expect(page.locator("#toast")).to_contain_text("close this tab")
    page.reload()
    expect(page.locator("#grid img.shown").first).to_be_visible()
    assert not set(watch.ids()) & {*SAME, NEAR}
    page.get_by_role("button", name="Show 3 hidden").click()
    expect(page.locator(f'#grid .tile[data-id="{row}"]')).to_be_visible()
    page.get_by_role("button", name="Select", exact=True).click()
    page.locator("#grid .tile .open").nth(5).click()
    bar.get_by_role("button", name="Less like these").click()
    expect(page.locator("#chips .chip.minus")).to_have_count(1)
    page.locator("#grid .tile .open").first.click()
    dialog.locator(".crumbs a").first.click()
    expect(page).to_have_url(re.compile(r"/\?mode=exact&folder.under=2016&dedup=off$"))
    inside = [one for one in in_order("-taken") if f"{FOLDER[one]}/".startswith("2016/")]
    expect_first(watch, inside)
    page.get_by_role("button", name="Leave this folder").click()
    expect(page.locator("#within")).to_be_hidden()
    _places_are_on_the_map(watch)
    _all_duplicates_are_in_groups(watch)


def _places_are_on_the_map(watch: Watched) -> None:
    page = watch.page
    page.emulate_media(color_scheme="light")
    page.get_by_role("link", name="Map").click()
    pins = page.locator(".pin")
    expect(pins).to_have_count(len(TOWNS))
    said = page.locator("#map").get_by_role("status")
    expect(said).to_have_text(f"{ROWS - ROWS // 4} pictures here")
    expect(pins.first.locator("img")).to_be_visible()
    watch.inspect()
    frame = page.get_by_role("group", name="Map")
    frame.focus()
    wide = page.locator(".outline").get_attribute("viewBox")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".outline")).not_to_have_attribute("viewBox", wide or "")
    page.get_by_role("button", name="Show the whole world").click()
    expect(page.locator(".outline")).to_have_attribute("viewBox", re.compile("^-180 .* 360 "))
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    expect(pins).to_have_count(len(TOWNS) - 1)  # two of them are too near to one another
    expect(pins.first).to_have_attribute("aria-label", re.compile("^200 pictures near"))
    watch.inspect()
    page.get_by_role("button", name=re.compile(r"pictures near 33\.9° S, 151\.2° E")).click()
    expect(page.locator("#within")).to_contain_text("In a part of the map")
    down_under = [row for row in in_order("-taken") if row % 4 == 2]
    expect_first(watch, down_under)
    page.get_by_role("button", name="Show the whole map").click()
    expect(page.locator("#within")).to_be_hidden()


def _all_duplicates_are_in_groups(watch: Watched) -> None:
    page = watch.page
    page.get_by_role("link", name="Duplicates").click()
    view = page.locator("#duplicates")
    expect(view.get_by_role("status")).to_have_text("1 group, 2 pictures more than one of each")
    group = view.get_by_role("region", name="Group 1: 3 rows, similar pictures")
    names = group.locator("li .words")
    expect(names).to_have_text([NAMES[row] for row in (*SAME, NEAR)])
    expect(group.locator("img").first).to_be_visible()
    watch.inspect()
    # What is opened from there leads back there.
    group.locator("a").nth(1).focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", level=2)).to_have_text(CAPTIONS[SAME[1]])
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(r"[?&]view=duplicates"))
    expect(group.locator("a").nth(1)).to_be_focused()
    group.get_by_role("button", name="Select all but the first").click()
    bar = page.get_by_role("region", name="Selected pictures")
    expect(bar.get_by_role("status")).to_have_text("2 selected")
    bar.get_by_role("button", name="Cancel").click()
    with page.expect_request(lambda sent: sent.url.endswith("/api/duplicates")) as asked:
        view.get_by_role("combobox").select_option("0.99")
    assert asked.value.post_data_json["threshold"] == 0.99
    expect(view.get_by_role("region", name="Group 1: 2 rows, the same file")).to_be_visible()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    watch.inspect()


def test_duplicates_come_in_lines(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(**body: Any) -> list[dict[str, Any]]:
        answer = served.http.post("/api/duplicates", json=body)
        assert answer.headers["content-type"] == "application/jsonl"
        return [json.loads(line) for line in answer.text.splitlines()]

    *told, found = lines()
    assert all(line.keys() == {"progress"} and line["progress"][1] == ROWS for line in told)
    assert (found["total"], found["more"]) == (1, 2)
    (group,) = found["groups"]
    assert (group["kind"], group["count"]) == ("picture", 3)
    assert [row["id"] for row in group["rows"]] == [*SAME, NEAR]
    assert group["rows"][0].keys() == {"id", "url", "caption", "score"}
    few = lines(filter={"file_name": {"in": [NAMES[row] for row in SAME]}})[-1]
    assert few["groups"][0]["kind"] == "file"
    assert lines(threshold=0.0001)[-1]["groups"][0]["count"] > 100
    assert len(lines(threshold=0.0001)[-1]["groups"][0]["rows"]) == 100
    assert lines(table="plain", threshold=1)[-1] == {"groups": [], "total": 0, "more": 0}
    # A client who goes away ends its comparison, and the next one begins.
    ended = threading.Event()

    def compare_for_ever(rows: object, threshold: float, tell: Progress) -> None:
        try:
            while True:
                tell(1, 2)
        finally:
            ended.set()

    with monkeypatch.context() as patched:
        patched.setattr("cliphouse.server.duplicates.compare", compare_for_ever)
        with served.http.stream("POST", "/api/duplicates", json={}) as answer:
            assert next(answer.iter_lines()) == '{"progress":[1,2]}'
        assert ended.wait(60)
    assert lines()[-1]["total"] == 1
    monkeypatch.setattr("cliphouse.server.duplicates.MOST_ROWS", ROWS - 1)
    refused = post(served, "/api/duplicates")
    assert refused.status_code == 400
    assert f"{ROWS} rows to compare" in refused.json()["error"]["message"]


def test_folders_without_dates(watch: Watched) -> None:
    page = watch.open("/?table=plain")
    expect(page.get_by_role("link", name="Map")).to_be_hidden()
    scrubber = page.get_by_role("slider", name="Go to")
    expect(scrubber).to_have_attribute("aria-valuemax", str(len(FOLDERS) - 1))
    expect(page.locator("#grid .group").nth(1)).to_have_text("2016")
    scrubber.focus()
    page.keyboard.press("End")
    last = IN_ORDER.index(FOLDERS[-1])
    expect(scrubber).to_have_attribute("aria-valuetext", re.compile(re.escape(EVIL)))
    page.wait_for_function(f"last => ({SEEN})().includes(last)", arg=last)
    page.locator("#filters-menu summary").click()
    menu = page.locator('[name="folder.under"]')
    count = IN_ORDER.count("2016/Rome/Day 1")
    menu.select_option("2016/Rome/Day 1")
    expect(page.locator("#within")).to_contain_text("In folder 2016RomeDay 1")
    expect(page).to_have_url(re.compile(r"\?table=plain&folder.under=2016%2FRome%2FDay\+1$"))
    expect_first(watch, [row for row in range(PLAIN) if IN_ORDER[row] == "2016/Rome/Day 1"])
    expect(page.locator("#count")).to_have_text(f"{count} pictures")
    page.get_by_role("link", name="Rome").click()
    count += IN_ORDER.count("2016/Rome")
    expect(page.locator("#count")).to_have_text(f"{count} pictures")
    assert page.evaluate("window.pwned") is None


def _shows_its_frame(video: Locator) -> None:
    """The player stands at the frame's time, and what it shows is of that time."""
    expect(video).to_be_visible()
    seen = video.evaluate(
        """async (video) => {
          const ready = (done) => video.addEventListener("canplay", done, { once: true });
          if (video.readyState < 2) await new Promise(ready);
          const canvas = document.createElement("canvas").getContext("2d");
          canvas.drawImage(video, 0, 0, 8, 8);
          const [red, green] = canvas.getImageData(4, 4, 1, 1).data;
          return { time: video.currentTime, isGreen: green > 200 && red < 50 };
        }"""
    )
    assert seen == {"time": SECONDS, "isGreen": True}


def test_a_video_opens_where_a_key_is_asked_for(browser: Chromium, made: Photographs) -> None:
    key = "a-key-of-some-length"
    settings = ServeSettings(db=str(made.db), pictures=(made.pictures,), keys=(hash_key(key),))
    with serving(settings) as locked, watched(browser, locked.url) as seen:
        page = seen.open(f"/?item={FRAME}#key={key}")
        # With a key all of it is fetched, so it is asked for.
        page.get_by_role("button", name="Play the video from here").click()
        _shows_its_frame(page.locator("#detail video"))
        assert page.evaluate("document.querySelector('#detail video').src").startswith("blob:")


def test_a_video_opens_at_its_time(watch: Watched) -> None:
    page = watch.open(f"/?item={FRAME}")
    video = page.locator("#detail video")
    _shows_its_frame(video)
    video.evaluate("video => { video.muted = true; return video.play(); }")
    page.keyboard.press("Escape")
    expect(video).to_have_js_property("paused", True)
    assert page.evaluate("document.querySelector('#detail video').getAttribute('src')") is None
    page = watch.open(f"/?item={OTHER_FRAME}")
    still = page.locator("#detail .large img")
    expect(still).to_be_visible()
    failed = """path => new Promise((done) => {
      const video = document.createElement("video");
      video.addEventListener("error", () => done(video.error.code));
      video.src = path;
    })"""
    assert page.evaluate(failed, f"/api/image/{OTHER_FRAME}/file") == 4  # no supported source
    expect(still).to_be_visible()
    expect(video).to_have_count(0)


def test_a_part_of_a_video_is_sent(made: Photographs, served: Served) -> None:
    whole = (made.pictures / "clip.webm").read_bytes()
    part = served.http.get(f"/api/image/{FRAME}/file", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert part.headers["content-type"] == "video/webm"


# Inspected by the tests that use them.
VIEWS = {
    "dates": View("/", "#grid img.shown"),
    "folder": View("/?table=plain&folder.under=2016%2FRome", "#grid img.shown"),
    "photograph": View(f"/?part=1:row:{SAME[0]}&dedup=off&item={SAME[0]}", ".duplicates img"),
    "video": View(f"/?item={FRAME}", "#detail video"),
    "kinds": View("/?q=needle&by=words", "#grid img.shown"),
    "weak": View("/?q=a+red+star", "#grid .group"),
    "sorted": View("/?q=a+red+star&sort=-taken", "#grid img.shown"),
    "map": View("/?view=map", ".pin img"),
    "duplicates": View("/?view=duplicates", "#duplicates li img"),
    "orders": View("/", "#grid img.shown", "#filters-menu summary"),
}


@pytest.mark.parametrize("size", SIZES)
def test_every_view_fits(browser: Chromium, served: Served, size: str) -> None:
    with seen_at(size, browser, served.url) as seen:
        for name, view in VIEWS.items():
            look_at(seen, view, name, size, is_inspected=False)
