"""Columns of a table's own over REST: filters, facets, hits, downloads, clip-retrieval's calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cliphouse.server.settings import ServeSettings
from own_columns import LANGUAGES, ROWS, SCORES, TAGS, load_own_columns
from serving import Served, serving


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
