"""Columns of a table's own over REST and on the page: filters, facets, hits, downloads, charts,
clip-retrieval's calls."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import expect

import cliphouse
from browser import Chromium, watched
from cliphouse.client import Client
from cliphouse.search.request import Request
from cliphouse.server.settings import ServeSettings
from own_columns import BORN, DAYS, GOOD, LANGUAGES, ROWS, SCORES, TAGS, load_own_columns
from serving import Served, serving
from test_download import wait_until

COUNT_TILES = "least => document.querySelectorAll('#grid .tile:not([hidden])').length >= least"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    db = load_own_columns(tmp_path_factory.mktemp("columns"))
    with serving(ServeSettings(db=str(db))) as running:
        yield running


def post(served: Served, path: str, body: dict[str, Any]) -> httpx.Response:
    return served.http.post(path, json=body)


def test_rest_counts_and_filters_by_any_column(served: Served) -> None:
    body = {"columns": ["language", "aesthetic"], "filter": {"tags": ["b"]}}
    language, aesthetic = post(served, "/api/facets", body).json()["facets"]
    assert sum(each["rows"] for each in language["values"]) + language["nulls"] == ROWS // 2
    assert sum(each["rows"] for each in aesthetic["bins"]) + aesthetic["nulls"] == ROWS // 2
    asked = {"id": 0, "k": 100, "filter": {"language": ["en"], "aesthetic": {"min": 5}}}
    hits = post(served, "/api/search", asked).json()["hits"]
    expected = {n for n in range(ROWS) if LANGUAGES[n] == "en" and (SCORES[n] or 0) >= 5}
    assert {hit["id"] for hit in hits} == expected
    assert {hit["language"] for hit in hits} == {"en"}
    assert all(hit["taken"].startswith("2020-") for hit in hits)
    asked["filter"] = {"language": {"in": ["en", None], "not_in": ["de"]}}
    hits = post(served, "/api/search", asked).json()["hits"]
    assert {hit["language"] for hit in hits} == {"en", None}


def test_rest_refuses_what_means_nothing(served: Served) -> None:
    for body in (
        {"columns": ["nothing"]},
        {"columns": []},
        {"columns": ["language"], "filter": {"aesthetic": {"least": 3}}},
        {"columns": ["language"], "filter": {"aesthetic": {"min": {}}}},
    ):
        assert post(served, "/api/facets", body).status_code in (400, 422), body


def test_clip_retrieval_s_clients_get_the_columns(served: Served) -> None:
    found = post(
        served, "/knn-service", {"text": "a picture", "num_images": 3, "modality": "image"}
    )
    rows = found.json()
    assert all(row["language"] == LANGUAGES[row["id"]] for row in rows)


def test_hits_are_downloaded_with_them(served: Served) -> None:
    asked = {"id": 0, "k": 5, "fields": "language,tags"}
    answer = post(served, "/api/search/download?format=parquet", asked)
    read = pq.read_table(pa.BufferReader(answer.content))
    assert read.column_names[-3:] == ["language", "tags", "folded"]
    ids = read.column("id").to_pylist()
    assert read.column("tags").to_pylist() == [TAGS[n] for n in ids]
    listed = post(served, "/api/search", asked | {"fields": ["language", "tags"]}).json()
    assert listed["hits"] == post(served, "/api/search", asked).json()["hits"]
    refused = post(served, "/api/search", asked | {"fields": ["language", 3]})
    assert (refused.status_code, "fields: " in refused.text) == (422, True)
    answer = post(served, "/api/search/download?format=csv", asked)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [json.loads(row["tags"]) for row in rows] == [TAGS[int(row["id"])] for row in rows]


def test_a_client_counts_and_sorts(served: Served) -> None:
    request = Request.read({"k": 20, "sort": "-aesthetic", "filter": {"is_good": [True]}})
    with Client(served.url) as client:
        (found,) = client.search_many(["id:0"], request)
        language, aesthetic = client.facets(["language", "aesthetic"], request)
    scores = [hit.aesthetic for hit in found]
    assert scores == sorted((SCORES[n] for n in range(ROWS) if GOOD[n] and SCORES[n] is not None),
                            reverse=True) + [None] * scores.count(None)  # fmt: skip
    assert len(found) == sum(GOOD) == sum(v.rows for v in language.values) + language.nulls
    assert sum(each.rows for each in aesthetic.bins) + aesthetic.nulls == sum(GOOD)


def test_the_page_filters_by_them(served: Served, browser: Chromium) -> None:
    asked: dict[str, Callable[[int], bool]] = {
        "language.is=en": lambda n: LANGUAGES[n] == "en",
        "is_good.is=no": lambda n: not GOOD[n],
        "aesthetic.min=3&aesthetic.max=9.5": lambda n: 3 <= (SCORES[n] or 0) <= 9.5,
        "tags.is=a": lambda n: "a" in TAGS[n],
        "born.max=1990-01-10": lambda n: BORN[n].isoformat() <= "1990-01-10",
        "taken.min=2020-02-01&taken.max=2020-02-10": lambda n: (
            "2020-02-01" <= DAYS[n].date().isoformat() <= "2020-02-10"
        ),
    }
    with watched(browser, served.url) as seen:
        seen.picture = a_picture()
        for query, keep in asked.items():
            page = seen.open(f"/?part=1:row:0&dedup=off&{query}")
            rows = {n for n in range(ROWS) if keep(n)}
            # The page asks for 30, and for more of them as soon as there is room.
            page.wait_for_function(COUNT_TILES, arg=min(len(rows), 30))
            found = set(seen.ids())
            assert found == rows if len(rows) <= 30 else found <= rows, query
        page.locator("#filters-menu summary").click()
        page.get_by_label("language").select_option("fr")
        expect(page.locator("#filters-count")).to_have_text("3")
        seen.shoot("own-columns-filters")
        page.get_by_role("button", name="Clear filters").click()
        assert "language" not in page.url


def test_the_dataset_view_charts_them(served: Served, browser: Chromium) -> None:
    with watched(browser, served.url) as seen:
        page = seen.open("/?view=dataset")
        for title in ("language (15 rows without)", "tags (10 rows without)", "is_good", "taken"):
            expect(page.locator("figcaption").get_by_text(title, exact=True)).to_be_visible()
        chart = page.get_by_role("img", name="is_good: false 40, true 20")
        expect(chart).to_be_visible()
        seen.shoot("own-columns-dataset")


def a_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def test_which_columns_are_empty_is_looked_up_behind_a_request(served: Served) -> None:
    def empty() -> set[str]:
        fields = served.http.get("/api/info").json()["fields"]
        return {each["column"] for each in (*fields["filters"], *fields["own"]) if each["empty"]}

    assert empty() == {"NSFW", "license"}
    with cliphouse.open(served.service.settings.db) as table:
        table.sql(
            "ALTER TABLE laion UPDATE license = 'cc' WHERE id = 3 SETTINGS mutations_sync = 1"
        )
    wait_until(lambda: empty() == {"NSFW"})
