"""What can be taken away from the service: statistics, files, and searches as code that runs."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from forked import python
from page_data import PageData
from serving import Served

NASTY = "it's a \"red\" $(touch pwned) `touch pwned`; \\' {x:String} heart \\"


def command() -> list[str]:
    return [*python(), "-m", "cliphouse"]


def post(page_service: Served, path: str, **body: Any) -> Any:
    answer = page_service.http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer


def test_statistics_are_those_of_the_shards(page_service: Served, page_data: PageData) -> None:
    stats = page_service.http.get("/api/stats", params={"table": "web"}).json()
    rows = len(page_data.web["url"])
    assert (stats["rows"], stats["counted"]) == (rows, rows)
    for name, column in (("nsfw", "NSFW"), ("license", "LICENSE")):
        found = {share["value"]: share["rows"] for share in stats[name]}
        assert found == Counter(page_data.web[column])
    assert {s["value"]: s["rows"] for s in stats["sites"]} == {
        "pictures.example": rows - rows // 4,
        "img.other.example": rows // 4,
    }
    for name, column in (("similarity", "similarity"), ("width", "width"), ("height", "height")):
        values = np.array(page_data.web[column], dtype=np.float32)
        edges = [bin["low"] for bin in stats[name]] + [stats[name][-1]["high"]]
        counts = [bin["rows"] for bin in stats[name]]
        assert sum(counts) == rows
        if name != "similarity":  # the engine's bounds are rounded to 32 bits
            assert counts == np.histogram(values, edges)[0].tolist()
        assert edges[0] <= values.min() + 1e-6
        assert values.max() <= edges[-1] + 1e-6
    captions = dict(enumerate(page_data.web["caption"]))
    assert len(stats["examples"]) == 12
    assert all(captions[example["id"]] == example["caption"] for example in stats["examples"])
    assert page_service.http.get("/api/stats", params={"table": "none"}).status_code == 404


def test_statistics_are_kept_for_a_while(page_service: Served) -> None:
    first = page_service.http.get("/api/stats").json()
    asked: list[str] = []

    async def count(table: str) -> None:
        asked.append(table)

    counting, page_service.service.statistics = page_service.service.statistics, count  # type: ignore[method-assign,assignment]
    try:
        assert page_service.http.get("/api/stats").json() == first
    finally:
        page_service.service.statistics = counting  # type: ignore[method-assign]
    assert asked == []


def test_a_search_is_a_file_in_three_formats(page_service: Served) -> None:
    body = {"words": "a red heart", "k": 7, "filter": {"min_width": 20}}
    hits = post(page_service, "/api/search", **body).json()["hits"]
    answers = {
        name: post(page_service, f"/api/search/download?format={name}", **body)
        for name in ("json", "csv", "parquet")
    }
    assert answers["json"].json()["hits"] == hits
    tables = [
        pa_csv.read_csv(io.BytesIO(answers["csv"].content)),
        pq.read_table(io.BytesIO(answers["parquet"].content)),
    ]
    for table in tables:
        assert table.column("id").to_pylist() == [hit["id"] for hit in hits]
        assert table.column("caption").to_pylist() == [hit["caption"] for hit in hits]
        np.testing.assert_allclose(table.column("score"), [h["score"] for h in hits])
    assert 'filename="cliphouse.csv"' in answers["csv"].headers["content-disposition"]
    bad = page_service.http.post("/api/search/download?format=exe", json=body)
    assert bad.status_code == 422


QUESTIONS: dict[str, dict[str, Any]] = {
    "nasty": {"words": NASTY},
    "sum": {
        "words": "--help me",
        "operands": [
            {"words": "it's small", "weight": -0.5},
            {"words": "2:30 to Paris", "weight": 0.25},
            {"id": 9, "weight": 2},
        ],
        "modality": "text",
        "offset": 4,
    },
    "next page": {"words": "a star", "metric": "l2"},
    "filters": {
        "id": 3,
        "filter": {
            "caption_contains": "e",
            "nsfw_not_in": ["it's \\ NSFW"],
            "min_similarity": -0.3,
            "min_width": 100,
            "max_height": 100_000,
        },
    },
}


@pytest.fixture(scope="module")
def copy(page_data: PageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the same rows, since the service holds its own."""
    db = tmp_path_factory.mktemp("copy") / "copy.chdb"
    ingest = ["ingest", str(page_data.drawn.folder / "shards"), "--db", str(db)]
    subprocess.run([*command(), *ingest], check=True, capture_output=True)
    return db


def printed(line: list[str], folder: Path) -> str:
    return subprocess.run(
        line, cwd=folder, check=True, capture_output=True, text=True, timeout=120
    ).stdout


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_code_finds_the_same(
    page_service: Served, page_data: PageData, copy: Path, question: str, tmp_path: Path
) -> None:
    """Each is run as it would be pasted."""
    body = QUESTIONS[question] | {"k": 12, "mode": "exact"}
    if question == "next page":
        body["cursor"] = post(page_service, "/api/search", **body).json()["cursor"]
    expected = [hit["id"] for hit in post(page_service, "/api/search", **body).json()["hits"]]
    code = post(page_service, "/api/search/code", **body).json()
    assert code["notes"] == []
    db = str(page_data.drawn.db)
    assert all(db in code[kind] for kind in ("command", "python"))
    found = printed(
        [*command(), "sql", "--format", "csv", "--db", str(copy), code["sql"]], tmp_path
    )
    assert pa_csv.read_csv(io.BytesIO(found.encode())).column("id").to_pylist() == expected
    line = code["command"].replace(db, str(copy))
    assert line.startswith("cliphouse search ")
    line = line.replace("cliphouse search ", f"{shlex.join(command())} search --json ", 1)
    hits = json.loads(printed(["sh", "-c", line], tmp_path))["hits"]
    assert [hit["id"] for hit in hits] == expected
    program = code["python"].replace(db, str(copy))
    program = program.replace("print(hit.score, hit.url, hit.caption)", "print(hit.id)")
    ids = printed([*python(), "-c", program], tmp_path).split()
    assert list(map(int, ids)) == expected
    assert list(tmp_path.iterdir()) == []


def test_code_for_pictures_says_what_to_replace(page_service: Served) -> None:
    body = {"operands": [{"picture_url": "https://example.org/it's.jpg", "weight": 1.5}]}
    code = post(page_service, "/api/search/code", **body).json()
    assert "encode_image('picture.jpg')" in code["sql"]
    assert code["command"].endswith("""-- '1.5:https://example.org/it'"'"'s.jpg'""")
    assert code["notes"] == ["replace picture.jpg with your picture's file"]


def test_words_that_look_like_a_row_are_copied_as_words(page_service: Served) -> None:
    code = post(page_service, "/api/search/code", words="id:3").json()
    assert code["command"].endswith("-- text:id:3")
    assert "'text:id:3'" in code["python"]


def test_what_code_cannot_do_is_said(page_service: Served) -> None:
    body = {"words": "a star", "k": 5, "filter": {"min_width": 1}}
    cursor = post(page_service, "/api/search", **body).json()["cursor"]
    # The filter is a condition in SQL there: another search, to which the cursor does not belong.
    assert post(page_service, "/api/search/code", **body, cursor=cursor).json()["command"] is None
    code = post(page_service, "/api/search/code", words="a star", dedup=0.9).json()
    assert code["notes"] == ["the SQL leaves out dedup=0.9"]


def test_a_terminal_meets_no_control_characters(page_service: Served) -> None:
    code = post(page_service, "/api/search/code", words="a\x03\x1b[2J\nrm\u2028 heart").json()
    assert all(character.isprintable() for character in code["command"])


def test_rows_read_are_counted_where_asked(page_service: Served, page_data: PageData) -> None:
    body = {"words": "a star", "mode": "exact", "k": 5}
    assert post(page_service, "/api/search", **body).json()["search"]["rows_read"] is None
    counted = post(page_service, "/api/search", **body, count=True).json()["search"]["rows_read"]
    assert counted >= len(page_data.captions)
