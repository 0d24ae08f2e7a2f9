"""The page trusts nothing: rows full of markup stay text, and its files come alone and small."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

import cliphouse
from browser import Chromium, watched
from page_data import HOSTILE, HOSTILE_URLS, PageData
from serving import Served

STATIC = Path(cliphouse.__file__).parent / "server" / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
WEIGHT = 200_000
FOR_EVER = "public, max-age=31536000, immutable"


@pytest.mark.parametrize("view", ["results", "detail", "dataset", "address"])
def test_hostile_rows_are_text(
    browser: Chromium, page_service: Served, page_data: PageData, view: str
) -> None:
    evil, shown = quote(HOSTILE[0]), [text.replace("\u202e", r"\u202e") for text in HOSTILE]
    addresses = {
        "results": "/?table=hostile&part=1:row:2&dedup=off",
        "detail": "/?table=hostile&part=1:row:2&dedup=off&item=2",
        "dataset": "/?table=hostile&view=dataset",
        "address": f"/?q={evil}&part=1:words:{evil}&part=1:url:{quote(HOSTILE_URLS[0])}"
        f"&license={evil}&table={evil}&item=javascript:1&mode={evil}",
    }
    with watched(browser, page_service.url) as seen:
        seen.picture = (page_data.drawn.pictures / "picture_00001.jpg").read_bytes()
        dialogs: list[str] = []
        seen.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        page = seen.open(addresses[view])
        if view == "results":
            expect(page.locator("#grid .tile")).to_have_count(len(HOSTILE))
            expect(page.locator("#count")).to_contain_text("hidden that will not load")
            words = page.locator("#grid .caption .words").all_text_contents()
            assert sorted(words) == sorted(shown)
            page.goto(f"{seen.url}/?table=hostile&sort=-stack")
            expect(page.locator("#count")).to_contain_text("sorted by stack, highest first")
            words = page.locator("#grid .caption .words").all_text_contents()
            assert words == list(reversed(shown))
        elif view == "detail":
            dialog = page.get_by_role("dialog")
            expect(dialog.get_by_role("heading", level=2)).to_have_text(shown[2])
            expect(dialog.locator("[data-modality=text] a").first).to_be_attached()
            expect(dialog.locator("dl.known")).to_contain_text(HOSTILE[0])
            for _ in HOSTILE:
                page.keyboard.press("ArrowRight")
        elif view == "dataset":
            expect(page.locator("figure", has_text="License")).to_contain_text(HOSTILE[0][:20])
        else:
            expect(page.get_by_role("alert")).to_be_visible()
            expect(page.locator("#words")).to_have_value(HOSTILE[0])
        assert page.evaluate("window.pwned") is None
        assert dialogs == []
        links = page.locator("a[href]").evaluate_all("links => links.map(a => a.protocol)")
        assert set(links) <= {"http:", "https:"}
        assert (
            page.locator("main script, dialog script, main a[onclick], main [onload]").count() == 0
        )
        assert {r["url"].split("/")[2] for r in seen.foreign} <= {"pictures.example"}
        if view == "address":
            seen.errors.clear()  # the browser logs that there is no such table


def test_the_browser_refuses_markup_and_scripts(browser: Chromium, page_service: Served) -> None:
    with watched(browser, page_service.url) as seen:
        page = seen.open()
        refused = page.evaluate(
            """() => {
              try { document.body.innerHTML = "<img src=x onerror=window.pwned=1>"; return null; }
              catch (error) { return error.name; }
            }"""
        )
        assert refused == "TypeError"
        page.evaluate(
            """() => new Promise((resolve) => {
              const style = document.createElement("style");
              style.textContent = "body { display: none }";
              document.addEventListener("securitypolicyviolation", resolve, { once: true });
              document.head.append(style);
            })"""
        )
        assert seen.errors
        seen.errors.clear()


def test_the_files_of_the_page(page_service: Served) -> None:
    names = sorted(path.name for path in STATIC.iterdir())
    weight = 0
    version = re.findall(r"/page/(\w+)/main.js", page_service.http.get("/").text)[0]
    for name in names:
        address = "/" if name == "index.html" else f"/page/{version}/{name}"
        answer = page_service.http.get(address)
        written = answer.content.replace(f"/page/{version}/".encode(), b"/page/")
        assert written == (STATIC / name).read_bytes()
        weight += len(answer.content)
        headers = answer.headers
        assert headers["content-type"] == TYPES[Path(name).suffix]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == ("no-cache" if name == "index.html" else FOR_EVER)
        again = page_service.http.get(answer.url.path, headers={"If-None-Match": headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == headers["etag"]
        assert page_service.http.head(answer.url.path).status_code == 200
    assert weight < WEIGHT
    for name in ("none.js", "..%2Fpage.py", "%2e%2e/page.py", "index.html%00"):
        assert page_service.http.get(f"/page/{name}").status_code == 404
        assert page_service.http.get(f"/page/{version}/{name}").status_code == 404
    for other in ("/page/main.js", "/page/0123456789ab/main.js"):  # of a page from before
        answer = page_service.http.get(other)
        assert answer.content == (STATIC / "main.js").read_bytes()
        assert answer.headers["cache-control"] == "no-cache"


def test_no_file_has_anything_inline_or_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        outside = re.findall(r"https?://[^\s\"'`)]+", text)
        assert set(outside) <= {"http://www.w3.org/2000/svg"}
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    modules = {path.name for path in STATIC.glob("*.js")}
    used = {"main.js"}
    for path in STATIC.glob("*.js"):
        used |= set(re.findall(r'"\./([\w.]+)"', path.read_text()))
    assert used == modules
    loaded = set(re.findall(r'modulepreload" href="/page/([\w.]+)"', page))
    later = {"dataset.js", "charts.js", "map.js", "world.js", "duplicates.js"}
    later |= {"detail.js", "about.js", "beside.js", "zoom.js", "video.js"}
    assert loaded == modules - {"main.js"} - later
