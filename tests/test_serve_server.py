"""cliphouse serve in front of a server, as a user who may only read, and when it goes away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

import cliphouse
from cliphouse.models import load_encoder
from cliphouse.server.settings import ServeSettings
from serving import Drawn, Served, serving
from standin.process import StandIn
from standin.users import READER

pytestmark = pytest.mark.usefixtures("server")


@dataclass(frozen=True)
class Behind:
    """A service, the server behind it, the address of its database for one who may only read, and
    the image vectors there, shape (60, 512)."""

    service: Served
    server: StandIn
    url: str
    image: NDArray[np.float32]


@pytest.fixture(scope="module")
def behind(stand_in: StandIn, drawn: Drawn) -> Iterator[Behind]:
    database = stand_in.fresh()
    with cliphouse.open(stand_in.url(database)) as table:
        table.ingest(drawn.folder / "shards")
    url = stand_in.url(database, READER)
    with serving(ServeSettings(db=url, workers=2)) as service:
        yield Behind(service, stand_in, url, drawn.image)


def test_words_are_searched_as_numpy_does(behind: Behind) -> None:
    query = load_encoder("tiny").encode_text(["a red star"])[0]
    order = np.argsort(-(behind.image @ query) / np.linalg.norm(behind.image, axis=1))
    answer = behind.service.http.post("/api/search", json={"words": "a red star", "k": 5}).json()
    assert [hit["id"] for hit in answer["hits"]] == order[:5].tolist()
    found = behind.service.http.post("/api/search", json={"id": 7, "k": 1}).json()
    assert found["hits"][0]["id"] == 7
    assert behind.service.http.get("/api/items/7").status_code == 200
    assert behind.service.http.get("/api/stats").json()["rows"] == len(behind.image)


def test_what_is_told_has_no_password_and_can_be_run(behind: Behind) -> None:
    told = behind.service.http.get("/api/info")
    assert "hnsw_candidate_list_size_for_search" in told.json()["summary"]["forbidden"]
    code = behind.service.http.post("/api/search/code", json={"id": 7, "k": 3})
    assert READER.password not in told.text + code.text
    with cliphouse.open(behind.url) as table:
        rows = table.sql(code.json()["sql"]).to_pylist()
    assert rows[0]["id"] == 7


def test_a_server_that_goes_away_comes_back(behind: Behind) -> None:
    behind.server.stop()
    try:
        gone = behind.service.http.post("/api/search", json={"id": 7, "k": 3})
        assert gone.status_code == 503
        assert int(gone.headers["Retry-After"]) > 0
        assert gone.json()["error"]["type"] == "unreachable"
        assert READER.password not in gone.text
        health = behind.service.http.get("/health")
        assert health.status_code == 503
        assert health.json() == {"status": "failing", "reason": "the database does not answer"}
        assert behind.service.http.get("/health/live").json() == {"status": "alive"}
    finally:
        behind.server.start()
    assert behind.service.http.get("/health").json() == {"status": "ready"}
    for _ in range(3):  # every worker's connection was cut
        back = behind.service.http.post("/api/search", json={"id": 7, "k": 3})
        assert back.json()["hits"][0]["id"] == 7
    behind.server.fail("cut", "query_distance")
    again = behind.service.http.post("/api/search", json={"id": 8, "k": 3})
    assert again.json()["hits"][0]["id"] == 8
