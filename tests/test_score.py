"""A hit's score is its cosine similarity to the query; similarity is a column of the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cliphouse
from conftest import OpenTable, Run
from shard_files import MadeShard, make_shard

ROWS, DIM = 60, 16


def scores_to(made: MadeShard, row: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    vectors = made.image.astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit[row]


@pytest.fixture
def made(tmp_path: Path) -> MadeShard:
    return make_shard(tmp_path / "s", 0, ROWS, DIM)


def test_score_and_similarity_are_two_things(
    tmp_path: Path, open_table: OpenTable, made: MadeShard
) -> None:
    table = open_table()
    table.ingest(tmp_path / "s")
    scores = scores_to(made, 5)
    for hit in table.search("id:5", k=ROWS):
        assert hit.score == pytest.approx(scores[hit.id], abs=1e-6)
        assert hit.similarity == pytest.approx(made.metadata["similarity"][hit.id], abs=1e-6)
    by_column = {hit.id for hit in table.search("id:5", k=ROWS, where="similarity > 0.3")}
    assert by_column == {i for i in range(ROWS) if made.metadata["similarity"][i] > 0.3}
    by_score = {hit.id for hit in table.search("id:5", k=ROWS, where="score > 0.1")}
    assert by_score == set(np.flatnonzero(scores > 0.1).tolist())
    assert {h.id for h in table.search("id:5", k=ROWS, min_score=0.1)} == by_score


def test_pages_of_a_search_with_a_least_score(
    tmp_path: Path, open_table: OpenTable, made: MadeShard
) -> None:
    table = open_table()
    table.ingest(tmp_path / "s")
    scores = scores_to(made, 5)
    seen: list[int] = []
    cursor = None
    while True:
        page = table.search("id:5", k=7, min_score=-0.05, cursor=cursor)
        seen += [hit.id for hit in page]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [i for i in np.argsort(-scores).tolist() if scores[i] >= -0.05]


def test_the_command_line_prints_and_takes_scores(
    tmp_path: Path, run: Run, made: MadeShard
) -> None:
    scores = scores_to(made, 5)
    assert run("ingest", "s", "--db", "db").returncode == 0
    found = run("search", "id:5", "--db", "db", "--json", "-k", ROWS, "--min-score", "0.2")
    hits = json.loads(found.stdout)["hits"]
    assert {hit["id"] for hit in hits} == set(np.flatnonzero(scores >= 0.2).tolist())
    assert list(hits[0])[:3] == ["id", "score", "distance"]
    wrong = run("search", "id:5", "--db", "db", "--min-score", "2")
    assert wrong.returncode == 2
    assert "min_score" in wrong.stderr


def test_a_copied_statement_has_the_least_score(
    tmp_path: Path, open_table: OpenTable, made: MadeShard
) -> None:
    table = open_table()
    table.ingest(tmp_path / "s")
    operand = cliphouse.Operand(id=5)
    for metric in ("cosine", "l2"):
        request = cliphouse.Request(k=ROWS, min_score=0.1, metric=metric)  # type: ignore[arg-type]
        rows = table.sql(table.spell_out([operand], request)).column("id").to_pylist()
        assert set(rows) == set(np.flatnonzero(scores_to(made, 5) >= 0.1).tolist())
