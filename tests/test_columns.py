"""A column is one entry: what is added to the list is found in everything made from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shard_files import make_shard

ROWS = 30
LANGUAGES = ("en", "de", "fr")
FILTERS = {"min_aesthetic", "max_aesthetic", "language_in", "language_not_in"}


def aesthetic(row: int) -> float:
    return row / 3


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program finds whose list has the columns aesthetic and language too."""
    folder = tmp_path_factory.mktemp("columns")
    metadata = {
        "url": [f"https://example.org/{row}.jpg" for row in range(ROWS)],
        "TEXT": [f"picture {row}" for row in range(ROWS)],
        "AESTHETIC_SCORE": [aesthetic(row) for row in range(ROWS)],
        "language": [LANGUAGES[row % 3] for row in range(ROWS)],
    }
    make_shard(folder / "made", 0, ROWS, dim=512, metadata=metadata)
    script = Path(__file__).with_name("extra_columns.py")
    run = subprocess.run(
        [sys.executable, script, folder / "made", folder],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def passing() -> list[int]:
    return [row for row in range(ROWS) if aesthetic(row) >= 5 and LANGUAGES[row % 3] != "de"]


def test_the_table_has_it_and_its_values(found: dict[str, Any]) -> None:
    assert list(found["types"].items())[-2:] == [
        ("aesthetic", "Float32"),
        ("language", "LowCardinality(String)"),
    ]
    assert "`aesthetic` Float32" in json.dumps(found["created"])
    for row, stored in enumerate(found["rows"]):
        assert stored["id"] == row
        assert stored["aesthetic"] == pytest.approx(aesthetic(row))
        assert stored["language"] == LANGUAGES[row % 3]


def test_hits_show_it_and_filters_take_it(found: dict[str, Any]) -> None:
    assert found["hit"]["id"] == 3
    assert found["hit"]["aesthetic"] == found["attributes"][0] == pytest.approx(aesthetic(3))
    assert found["hit"]["language"] == found["attributes"][1] == "en"
    assert (
        list(found["hit"])[-3:] == list(found["arrow"])[-3:] == ["aesthetic", "language", "folded"]
    )
    assert (found["arrow"]["aesthetic"], found["arrow"]["language"]) == ("double", "string")
    assert found["filtered"] == passing()


def test_rest_takes_and_shows_it(found: dict[str, Any]) -> None:
    schemas = found["document"]["components"]["schemas"]
    assert set(schemas["FilterBody"]["properties"]) > FILTERS
    assert {"aesthetic", "language"} < set(schemas["HitAnswer"]["properties"])
    assert {"aesthetic", "language"} < set(schemas["ResultAnswer"]["properties"])
    assert {"aesthetic", "language"} < set(schemas["TableStatistics"]["required"])
    assert sorted(hit["id"] for hit in found["search"]["hits"]) == passing()
    for hit in found["search"]["hits"]:
        assert hit["aesthetic"] == pytest.approx(aesthetic(hit["id"]))
        assert hit["language"] == LANGUAGES[hit["id"] % 3]
    assert "min_x" in found["refused"]["error"]["message"]
    assert "aesthetic >= toFloat32(5.0)" in found["code"]["sql"]
    assert "language_not_in=('de',)" in found["code"]["python"]
    (result,) = found["results"]
    assert result["language"] == LANGUAGES[result["id"] % 3]


def test_exports_have_it(found: dict[str, Any]) -> None:
    assert [row["aesthetic"] for row in found["parquet"]] == pytest.approx(
        [aesthetic(row) for row in range(ROWS)]
    )
    assert found["img2dataset"] == ["url", "caption", "similarity", "NSFW", "id", "aesthetic"]
    assert found["jsonl"][0]["language"] == "en"
    assert {"aesthetic", "language"} < set(found["shards"])


def test_statistics_count_it_and_the_page_offers_it(found: dict[str, Any]) -> None:
    bins = found["statistics"]["aesthetic"]
    assert [bin["rows"] for bin in bins] == found["aesthetic"]
    assert (bins[0]["low"], bins[-1]["high"]) == pytest.approx((0, aesthetic(ROWS - 1)))
    assert sum(bin["rows"] for bin in bins if bin["low"] >= 5) == pytest.approx(ROWS / 2, abs=1)
    assert sum(found["aesthetic"]) == ROWS
    languages = dict.fromkeys(LANGUAGES, ROWS // 3)
    assert found["language"] == languages
    assert {s["value"]: s["rows"] for s in found["statistics"]["language"]} == languages
    fields = found["fields"]["fields"]
    offered = {control["column"]: control for control in fields["filters"]}
    assert offered["language"]["kind"] == "one_of"
    assert offered["language"]["fields"] == ["language_in"]
    control = offered["aesthetic"]
    assert control["fields"] == ["min_aesthetic", "max_aesthetic"]
    assert (control["label"], control["low"], control["high"]) == ("Aesthetic score", 0, 10)
    assert {"name": "aesthetic", "kind": "histogram", "title": "Aesthetic score"} in fields[
        "statistics"
    ]
