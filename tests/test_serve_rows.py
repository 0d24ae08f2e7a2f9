"""Rows of a table in the order of any column, page by page, compared with Python's order."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from cliphouse.server import copies
from cliphouse.server.settings import ServeSettings
from own_columns import DAYS, LANGUAGES, ROWS, SCORES, load_own_columns
from serving import Served, serving

CAPTIONS = [f"picture {n}" for n in range(ROWS)]
VALUES: dict[str, list[Any]] = {
    "id": list(range(ROWS)),
    "caption": CAPTIONS,
    "language": LANGUAGES,
    "aesthetic": SCORES,
    "taken": DAYS,
    "width": [0] * ROWS,
    "similarity": [None] * ROWS,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    db = load_own_columns(tmp_path_factory.mktemp("rows"))
    with serving(ServeSettings(db=str(db))) as running:
        yield running


def post(served: Served, **body: Any) -> Any:
    answer = served.http.post("/api/rows", json=body)
    return answer.json() if answer.status_code == 200 else answer


def walk(served: Served, **body: Any) -> Iterator[dict[str, Any]]:
    """All rows, page by page."""
    cursor = None
    while True:
        page = post(served, **body, **({"cursor": cursor} if cursor else {}))
        yield from page["rows"]
        cursor = page["cursor"]
        if cursor is None:
            return


def expected(values: list[Any], is_falling: bool, keep: Callable[[int], bool]) -> list[int]:
    rows = [n for n in range(ROWS) if keep(n)]
    known = [n for n in rows if values[n] is not None]
    known.sort(key=lambda n: values[n], reverse=is_falling)  # a stable sort, also in reverse
    return known + [n for n in rows if values[n] is None]


@pytest.mark.parametrize("name", ["id", "caption", "language", "aesthetic", "taken", "width"])
def test_each_row_comes_once_in_the_order_of_a_column(served: Served, name: str) -> None:
    asked = {"filter": {"taken": {"min": DAYS[5].isoformat()}}, "fields": [name]}
    for sign in ("", "-"):
        found = list(walk(served, sort=sign + name, k=7, **asked))
        assert [row["id"] for row in found] == expected(VALUES[name], bool(sign), lambda n: n >= 5)
        assert all(row.keys() == {"id", name} for row in found)


def test_a_page_begins_after_the_one_before(served: Served) -> None:
    first = post(served, sort="-aesthetic", k=10)
    assert first["rows"][0].keys() == {"id", "url", "caption"}
    whole = [row["id"] for row in walk(served, sort="-aesthetic", k=1000)]
    second = post(served, sort="-aesthetic", k=10, cursor=first["cursor"])
    assert [row["id"] for row in second["rows"]] == whole[10:20]
    few = {"language": ["fr"]}  # the row that the cursor names is none of these
    rest = post(served, sort="-aesthetic", k=1000, cursor=first["cursor"], filter=few)
    assert [row["id"] for row in rest["rows"]] == [n for n in whole[10:] if LANGUAGES[n] == "fr"]
    assert rest["cursor"] is None


def test_what_means_nothing_is_refused(served: Served) -> None:
    cursor = post(served, sort="taken", k=3)["cursor"]
    value = f"x{b'no number'.hex()}"
    forged = base64.urlsafe_b64encode(json.dumps([3, value, "aesthetic"]).encode()).decode()
    for body, said in (
        ({"sort": "nothing"}, "the table has no column nothing"),
        ({"sort": "tags"}, "column tags has lists"),
        ({"sort": "image_embedding"}, "column image_embedding has lists"),
        ({"fields": ["text_embedding"]}, "no column text_embedding to show"),
        ({"cursor": cursor, "sort": "id"}, "the cursor is none of this list"),
        ({"cursor": "WzEsbnVsbF0", "sort": "id"}, "the cursor is none of this list"),
        ({"cursor": "%%%", "sort": "id"}, "the cursor is none of this list"),
        ({"cursor": forged, "sort": "aesthetic"}, "no number"),
        ({"filter": {"nothing": [1]}}, "the table has no"),
    ):
        answer = post(served, **body)
        assert answer.status_code == 400
        assert said in answer.json()["error"]["message"], body
    for wrong in ({"k": 0}, {"k": 1001}, {"sort": ""}, {"where": "1"}):
        assert post(served, **wrong).status_code == 422


def test_a_list_is_a_file_in_three_formats(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST_ROWS", 7)  # a page
    asked = {"sort": "-aesthetic", "k": 20, "filter": {"language": {"in": ["en", "de"]}}}
    wanted = expected(SCORES, True, lambda row: LANGUAGES[row] in ("en", "de"))[:20]
    files = {
        name: served.http.post(f"/api/rows/download?format={name}", json=asked)
        for name in ("json", "csv", "parquet")
    }
    found = files["json"].json()
    assert [row["id"] for row in found["rows"]] == wanted
    fields = {"fields": list(found["rows"][0])}
    assert found["rows"] == list(islice(walk(served, **asked | fields), 20))
    after = post(served, **asked | {"k": 1, "cursor": found["cursor"]})["rows"]
    assert after[0]["id"] not in wanted
    tables = [
        pa_csv.read_csv(io.BytesIO(files["csv"].content)),
        pq.read_table(io.BytesIO(files["parquet"].content)),
    ]
    for table in tables:
        assert table.column("id").to_pylist() == wanted
        assert table.column("aesthetic").to_pylist() == [SCORES[row] for row in wanted]
    assert tables[1].column("taken").to_pylist() == [DAYS[row] for row in wanted]
    assert not {"image_embedding", "text_embedding"} & set(tables[1].column_names)
    none = {"filter": {"language": {"in": ["none"]}}}
    for name in ("csv", "parquet"):
        assert served.http.post(f"/api/rows/download?format={name}", json=none).status_code == 200
    too_many = served.http.post("/api/rows/download", json={"k": 10_001})
    assert too_many.status_code == 422
