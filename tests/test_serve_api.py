"""What the service answers, over real HTTP, compared with the shards' own vectors in numpy."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cliphouse.client import Client
from cliphouse.errors import QueryError
from cliphouse.models import load_encoder
from cliphouse.search.filter import Filter
from cliphouse.search.paging import Cursor
from cliphouse.search.query.operand import Operand
from cliphouse.search.request import Request
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from serving import Drawn, Served, serving

FETCHED = "http://pictures.example/7.jpg"


@pytest.fixture(scope="module")
def served(drawn: Drawn) -> Iterator[Served]:
    settings = ServeSettings(db=str(drawn.db), tables=("laion", "second"), workers=2)

    def fetch(url: str) -> bytes:
        assert url == FETCHED
        return (drawn.pictures / "picture_00007.jpg").read_bytes()

    with serving(settings, Service(settings, fetch)) as running:
        yield running


def search(served: Served, **body: Any) -> dict[str, Any]:
    answer = served.http.post("/api/search", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[int]:
    return [hit["id"] for hit in answer["hits"]]


def test_words_a_vector_and_a_row(served: Served, drawn: Drawn) -> None:
    words = load_encoder("tiny").encode_text(["two blue circles"])[0]
    by_words = search(served, words="two blue circles", k=15)
    assert ids(by_words) == drawn.nearest(words)[:15]
    assert by_words["search"]["query"] == "text"
    cosines = drawn.image @ words / np.linalg.norm(drawn.image, axis=1)
    scores = [hit["score"] for hit in by_words["hits"]]
    np.testing.assert_allclose(scores, cosines[ids(by_words)], atol=1e-3)
    by_vector = search(served, vector=words.tolist(), k=15, modality="text")
    assert ids(by_vector) == drawn.nearest(words, "text")[:15]
    assert by_vector["search"]["query"] == "text"
    assert ids(search(served, id=41, k=5)) == drawn.nearest(drawn.image[41])[:5]


@pytest.mark.parametrize("way", ["base64", "data", "url", "upload"])
def test_a_picture_is_found_by_its_own_bytes(served: Served, drawn: Drawn, way: str) -> None:
    data = (drawn.pictures / "picture_00007.jpg").read_bytes()
    text = base64.b64encode(data).decode()
    if way == "upload":
        answer = served.http.post(
            "/api/search/upload", files={"picture": data}, data={"options": '{"k": 3}'}
        ).json()
    elif way == "url":
        answer = search(served, picture_url=FETCHED, k=3)
    else:
        picture = text if way == "base64" else f"data:image/jpeg;base64,{text}"
        answer = search(served, picture=picture, k=3)
    assert answer["hits"][0]["url"].endswith("picture_00007.jpg")
    assert answer["hits"][0]["score"] == pytest.approx(1, abs=2e-3)
    assert len(answer["hits"]) == 3
    assert answer["search"]["query"] == "image"


def test_operands_are_weighted_and_summed(served: Served, drawn: Drawn) -> None:
    words = load_encoder("tiny").encode_text(["a star"])[0]
    unit = drawn.image / np.linalg.norm(drawn.image, axis=1, keepdims=True)
    expected = 2 * unit[3] - 0.5 * unit[9] + words
    found = search(
        served, words="a star", operands=[{"id": 3, "weight": 2}, {"id": 9, "weight": -0.5}], k=20
    )
    assert ids(found) == drawn.nearest(expected)[:20]
    assert found["search"]["query"] == "mixed"
    upload = served.http.post(
        "/api/search/upload",
        files={"picture": (drawn.pictures / "picture_00001.jpg").read_bytes()},
        data={"options": json.dumps({"operands": [{"id": 5}], "k": 2})},
    ).json()
    assert upload["search"]["query"] == "image"


def test_words_never_name_a_file_an_address_or_a_row(served: Served, drawn: Drawn) -> None:
    encoder = load_encoder("tiny")
    picture = str(drawn.pictures / "picture_00007.jpg")
    for words in (picture, "/etc/passwd", "http://127.0.0.1/x.jpg", "id:3", "2:cat", "x.npy"):
        assert (
            ids(search(served, words=words)) == drawn.nearest(encoder.encode_text([words])[0])[:10]
        )


def test_filters_pages_and_duplicates_are_filled_to_k(served: Served, drawn: Drawn) -> None:
    nearest = drawn.nearest(drawn.image[3])
    filtered = search(served, id=3, k=10, filter={"caption_contains": "RED"})
    red = [i for i in nearest if "red" in (drawn.pictures / _caption(i)).read_text().lower()]
    assert len(red) > 0
    assert ids(filtered) == red[:10]
    pages, cursor = [], None
    while len(pages) < 100:
        page = search(served, id=3, k=7, **({} if cursor is None else {"cursor": cursor}))
        pages += ids(page)
        if (cursor := page["cursor"]) is None:
            break
    assert pages == nearest
    assert ids(search(served, id=3, k=5, offset=11)) == nearest[11:16]
    folded = search(served, id=3, k=10, dedup=0.95)
    unit = drawn.image / np.linalg.norm(drawn.image, axis=1, keepdims=True)
    kept: list[int] = []
    for i in nearest:
        if not kept or (unit[kept] @ unit[i]).max() < 0.95:
            kept.append(i)
    assert ids(folded) == kept[:10]


def _caption(row: int) -> str:
    return f"picture_{row + 1:05d}.txt"


def test_the_client_sends_all_that_is_asked(served: Served, drawn: Drawn) -> None:
    """Filters and pages reach the service, and queries as Python has them too."""
    nearest = drawn.nearest(drawn.image[3])
    asked = Request(k=2, filter=Filter(shards=np.array([0]), caption_contains="RED"))
    with Client(str(served.http.base_url)) as client:
        (first,) = client.search_many(["id:3"], asked)
        assert first.cursor is not None
        later = replace(asked, cursor=Cursor.from_token(first.cursor))
        (second,) = client.search_many([drawn.image[3]], later)
        picture = Image.open(drawn.pictures / "picture_00007.jpg")
        summed = (Operand(id=3), Operand(picture=picture, weight=1e-3))
        (third,) = client.search_many([summed], Request(k=1))
        with pytest.raises(QueryError, match="a service takes no SQL: leave --where out"):
            client.search_many(["id:3"], Request(where="id > 3"))
    red = [i for i in nearest if "red" in (drawn.pictures / _caption(i)).read_text().lower()]
    assert len(red) > 2
    assert [hit.id for hit in (*first, *second)] == red[:4]
    assert third[0].id == nearest[0]


def test_a_batch_is_answered_in_its_order(served: Served, drawn: Drawn) -> None:
    queries = [{"words": "a red circle"}, {"id": 12}, {"words": "a star"}]
    body = {"queries": queries, "k": 4, "modality": "text"}
    results = served.http.post("/api/search/batch", json=body).json()["results"]
    red, star = load_encoder("tiny").encode_text(["a red circle", "a star"])
    expected = [drawn.nearest(vector, "text")[:4] for vector in (red, drawn.text[12], star)]
    assert [ids(result) for result in results] == expected


def test_rows_neighbours_and_info(served: Served, drawn: Drawn) -> None:
    row = served.http.get("/api/items/7").json()
    assert (row["id"], row["url"]) == (7, str(drawn.pictures / "picture_00008.jpg"))
    assert row["caption"] == (drawn.pictures / "picture_00008.txt").read_text().strip()
    assert not any("embedding" in name for name in row)
    near = served.http.get("/api/items/7/neighbours", params={"k": 5}).json()
    assert ids(near) == [i for i in drawn.nearest(drawn.image[7]) if i != 7][:5]
    assert served.http.get("/api/items/999").status_code == 404
    assert served.http.get("/api/items/999/neighbours").status_code == 404
    told = served.http.get("/api/info", params={"table": "second"}).json()
    assert told["tables"] == ["laion", "second"]
    assert (told["summary"]["table"], told["summary"]["rows"]) == ("second", 60)
    assert str(drawn.folder) not in json.dumps(told)


def test_tables_are_named_and_others_are_not_there(served: Served) -> None:
    for table in ("laion", "second"):
        assert ids(search(served, id=3, table=table, k=1)) == [3]
    for table in ("third", "system.tables", "laion; DROP TABLE laion"):
        answer = served.http.post("/api/search", json={"id": 3, "table": table})
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")
    counted = re.search(r'cliphouse_errors_total{type="not_found"} (\S+)', metrics(served))
    assert counted is not None
    assert float(counted[1]) >= 3


def metrics(served: Served) -> str:
    return served.http.get("/metrics").text


NEVER = {"words": "x"}


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({}, 400, "nothing to search for"),
        ({"operands": [{"words": "x", "weight": -1}]}, 400, "everything is subtracted"),
        ({"operands": [{"words": "x", "id": 1}]}, 400, "words and id"),
        ({"operands": [{"words": "x", "weight": 0}]}, 400, "weight of 0"),
        ({"vector": [1.0, 2.0]}, 400, "dimension 2, but table laion has 512"),
        ({"vector": [0.0] * 512}, 400, "no direction"),
        ({"vector": [1e-30] * 512}, 400, "no direction"),
        ({"vector": [1e30] * 512}, 422, "vector.0"),
        ({"vector": ["a"]}, 422, "vector.0"),
        ({"id": 999}, 400, "id:999: table laion has no such row"),
        ({"picture": "*"}, 400, "base64"),
        ({"picture": base64.b64encode(b"nothing").decode()}, 400, "cannot be read as a picture"),
        (NEVER | {"k": 0}, 422, "k: "),
        (NEVER | {"k": "5"}, 422, "k: "),
        (NEVER | {"k": 10**9}, 422, "k: "),
        (NEVER | {"k": 10_000, "offset": 1}, 400, "10,000"),
        (NEVER | {"cursor": "nonsense"}, 400, "cursor"),
        (NEVER | {"mode": "hnsw"}, 400, "index"),
        (NEVER | {"modality": "sound"}, 422, "modality"),
        (NEVER | {"where": "1 = 1"}, 422, "where"),
        (NEVER | {"filter": {"caption": "x"}}, 422, "filter.caption"),
        ({"words": "   "}, 400, "empty"),
        ({"words": "x" * 5000}, 422, "words"),
        ({"operands": [{"words": "x"}] * 17}, 422, "operands"),
    ],
)
def test_what_cannot_be_asked_is_said(
    served: Served, body: dict[str, Any], status: int, told: str
) -> None:
    answer = served.http.post("/api/search", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, told in error["message"]) == (status, True), answer.text
    assert "\n" not in error["message"]


def test_strange_text_is_only_text(served: Served, drawn: Drawn) -> None:
    for text in ("\0", "'; DROP TABLE laion --", "\\", "{x:String}", "a\t\n\rb", "🐈\u202e", "%00"):
        answer = search(served, words=text, filter={"caption_contains": text, "nsfw_in": [text]})
        assert answer["hits"] == []
    for field in ("words", "cursor", "table", "picture", "picture_url"):
        body = {"words": "x"} | {field: "\ud800"}  # half a character, which no UTF-8 can hold
        content = json.dumps(body).encode()
        answer = served.http.post(
            "/api/search", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 422), field
        assert set(answer.json()) == {"error"}
    assert ids(search(served, id=3, k=1)) == [3]


def test_what_is_no_json_no_picture_and_no_route(served: Served, tmp_path: Path) -> None:
    post = served.http.post
    for content in (b"{", b"\xff\xfe", b'{"words": "x", "vector": [NaN]}', b"[]", b'"x"'):
        answer = post("/api/search", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (422, "request")
    for path, status in (("/nowhere", 404), ("/api/search", 405), ("/api/items/x", 422)):
        answer = served.http.get(path)
        assert (answer.status_code, set(answer.json())) == (status, {"error"})
    assert "/openapi.json" in served.http.get("/nowhere").json()["error"]["message"]
    bomb = tmp_path / "bomb.png"
    Image.new("1", (30_000, 30_000)).save(bomb)
    assert bomb.stat().st_size < 1_000_000
    answer = post("/api/search/upload", files={"picture": bomb.read_bytes()})
    assert answer.status_code == 400
    assert "pixels" in answer.json()["error"]["message"]
    assert post("/api/search/upload", files={"other": b""}).status_code == 422
    answer = post("/api/search/upload", files={"picture": b"x"}, data={"options": "{"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "request")


def test_an_answer_tells_where_its_time_went(served: Served) -> None:
    started = time.perf_counter()
    answer = served.http.post("/api/search", json={"words": "a yellow star"})
    elapsed = (time.perf_counter() - started) * 1000
    parts = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    times = {name: float(milliseconds) for name, milliseconds in parts.items()}
    assert list(times) == [
        *("receive", "validate", "encode", "queue", "database", "return", "write")
    ]
    assert 0 < times["database"] < sum(times.values()) < elapsed
    assert times["database"] >= answer.json()["search"]["search_ms"] - 0.01
    refused = served.http.post("/api/search", json={"k": 0})
    assert "database" not in refused.headers["server-timing"]


def test_health_metrics_and_the_document(served: Served) -> None:
    assert served.http.get("/health").json() == {"status": "ready"}
    assert served.http.get("/health/live").json() == {"status": "alive"}
    search(served, words="a star")
    lines = served.http.get("/metrics").text.splitlines()
    figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    for step in ("full_knn_request_time", "text_clip_inference_time", "knn_index_time"):
        assert float(figures[f"{step}_count"]) >= 1
    label = 'cliphouse_requests_total{method="POST",route="/api/search",status="200"}'
    assert float(figures[label]) >= 1
    assert "/api/search" in served.http.get("/openapi.json").json()["paths"]
    page = served.http.get("/docs")
    assert "swagger" in page.text
    assert "sha256-" in page.headers["content-security-policy"]
