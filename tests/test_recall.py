"""Recall measured of every way to search, against numpy, and kept for mode auto."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from clip_like import ClipLike, write_shard
from cliphouse.cli.recall import draw
from cliphouse.errors import QueryError, ShardError, TableError
from cliphouse.loading.bfloat16 import bfloat16_bits
from cliphouse.recall.questions import turned_aside
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.table import Table
from cliphouse.vocabulary import Measured
from conftest import OpenTable, Run
from shard_files import MadeShard, make_shard

ROWS, DIM = 1000, 64


@pytest.fixture
def made(tmp_path: Path) -> MadeShard:
    return make_shard(tmp_path / "s", 2, ROWS, DIM, dtype="<f4")


@pytest.fixture
def small(tmp_path: Path) -> MadeShard:
    """Few rows, of which every search finds all: where their recall is not the question."""
    return make_shard(tmp_path / "s", 2, 200, DIM, dtype="<f4")


def sampled_rows(table: Table, count: int) -> list[int]:
    found = table.sql(f"SELECT id FROM laion ORDER BY sipHash64(id) LIMIT {count}")
    return [row_id - 2 * 2**32 for row_id in found.column("id").to_pylist()]


def nearest(rows: np.ndarray, query: np.ndarray, k: int, but: int) -> list[int]:
    scores = rows @ query / np.linalg.norm(rows, axis=1)
    return [int(row) for row in np.argsort(-scores)[: k + 1] if row != but][:k]


def test_codes_are_measured_as_numpy_says(made: MadeShard, open_table: OpenTable) -> None:
    table = open_table()
    table.ingest(made.folder, codes="rabitq")
    measured = table.recall("image", k=10, queries=30, save=True)
    assert {entry.mode for entry in measured} == {"exact", "codes"}
    assert made.text is not None
    rows = made.image.astype(np.float64)
    sampled = sampled_rows(table, 30)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    apart = float(np.median([np.sort(unit @ unit[row])[-2] for row in sampled]))
    images = turned_aside(made.image[sampled].astype(np.float32), apart)
    for kind, vectors in (("image", images), ("text", made.text[sampled])):
        for width in (2, 20):
            shares = []
            for row, vector in zip(sampled, vectors, strict=True):
                own = row if kind == "text" else -1
                wanted = nearest(rows, vector.astype(np.float64), 10, own)
                found = table.search(vector, k=11, mode="codes", oversampling=width)
                ids = [hit.id - 2 * 2**32 for hit in found if hit.id - 2 * 2**32 != own][:10]
                shares.append(len(set(ids) & set(wanted)) / 10)
            entry = next(e for e in measured if (e.query, e.width) == (kind, width))
            assert entry.recall == pytest.approx(np.mean(shares), abs=1e-4)
            error = max(np.std(shares, ddof=1) / np.sqrt(30), 1 / 300)
            assert entry.standard_error == pytest.approx(error, abs=1e-4)
    targets = {entry.query: entry.target for entry in measured}
    assert targets == {"text": 0.95, "image": 0.99}
    widest = max(e.width for e in measured if e.query == "text")
    # A vector may be of either kind. How wide each was measured depends on the times.
    known = min(e.recall for e in measured if (e.mode, e.width) == ("codes", widest))
    said = table.search(made.text[0], mode="codes", oversampling=widest).stats
    assert (said.mode, said.width, said.recall) == ("codes", widest, known)


def test_a_row_turned_aside_is_no_row_any_more() -> None:
    rng = np.random.default_rng(8)
    rows = (3 * rng.standard_normal((50, DIM))).astype(np.float32)
    rows[7] = rows[6]  # the same twice cannot be turned towards one another
    turned = turned_aside(rows, 0.8)
    lengths = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), lengths, rtol=1e-5)
    cosines = np.sum(turned * rows, axis=1) / lengths**2
    np.testing.assert_allclose(np.delete(cosines, 7), 0.8, atol=1e-5)
    np.testing.assert_allclose(turned[7], rows[7], rtol=1e-5)
    for row in range(1, 50):
        plane = np.stack([rows[row], rows[row - 1]]).T.astype(np.float64)
        assert np.linalg.lstsq(plane, turned[row], rcond=None)[1].sum() < 1e-6


def test_recall_of_images_is_that_of_new_ones(tmp_path: Path, open_table: OpenTable) -> None:
    """Measured with rows of the table, against pictures that the table has never seen."""
    write_shard(tmp_path / "s", 0, 2000)
    shutil.rmtree(tmp_path / "s" / "text_emb")  # measuring for words too would take twice as long
    rows = np.load(tmp_path / "s" / "img_emb" / "img_emb_0.npy").astype("f4")
    vectors = ClipLike().vectors(4000, 4080).image
    cosines = vectors @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T
    wanted = np.argsort(-cosines, axis=1)[:, :10]
    table = open_table()
    table.ingest(tmp_path / "s")
    table.index(IndexSpec("image", m=6, ef_construction=24))
    measured = table.recall("image", k=10, queries=80)
    for ef in (64, 128):
        shares = []
        for vector, ids in zip(vectors, wanted, strict=True):
            hits = table.search(vector, mode="hnsw", ef=ef)
            shares.append(len(set(ids) & {hit.id for hit in hits}) / 10)
        said = next(e.recall for e in measured if (e.query, e.width) == ("image", ef))
        assert said == pytest.approx(np.mean(shares), abs=0.05)


def test_several_k_are_kept_apart_and_replaced(small: MadeShard, open_table: OpenTable) -> None:
    table = open_table()
    table.ingest(small.folder)
    table.index(IndexSpec("image", m=32), measure=True)
    kept = table.info.measured
    found = {(e.k, e.queries) for e in kept if e.mode == "hnsw"}
    assert found == {(10, 30), (100, 30)}, "no more queries than it takes to know that all is found"
    table.recall("image", k=(10, 100), save=True)
    kept = table.info.measured
    assert {(entry.k, entry.queries) for entry in kept} == {(10, 200), (100, 50)}
    table.recall("image", k=10, queries=30, target=0.5, save=True)
    again = table.info.measured
    assert {(entry.k, entry.queries, entry.target) for entry in again} == {
        (10, 30, 0.5),
        (100, 50, 0.95),
        (100, 50, 0.99),
    }
    table.recall("image", k=10, queries=5)
    assert table.info.measured == again
    assert table.search("id:8589934592", k=50).stats.reason != ""


def test_rounding_costs_what_numpy_says(made: MadeShard, open_table: OpenTable) -> None:
    table = open_table()
    table.ingest(made.folder, precision="bfloat16")
    costs = table.rounding_cost(made.folder, k=200, queries=30)
    assert [(cost.query, cost.queries) for cost in costs] == [("image", 30), ("text", 30)]
    assert made.text is not None
    stored = bfloat16_bits(made.image.astype(np.float32)).view(np.float32).astype(np.float64)
    for cost, vectors in zip(costs, (made.image, made.text), strict=True):
        shares = []
        for row in sampled_rows(table, 30):
            query = vectors[row].astype(np.float32)
            rounded = bfloat16_bits(query).view(np.float32).astype(np.float64)
            mine = nearest(stored, rounded, 200, row)
            truth = nearest(made.image.astype(np.float64), query.astype(np.float64), 200, row)
            shares.append(len(set(mine) & set(truth)) / 200)
        assert cost.recall == pytest.approx(np.mean(shares), abs=2e-3)
        assert 0.9 < cost.recall < 1


def test_rounding_asks_for_the_table_s_own_shards(
    made: MadeShard, tmp_path: Path, open_table: OpenTable
) -> None:
    table = open_table()
    table.ingest(made.folder)
    assert {cost.recall for cost in table.rounding_cost(made.folder, queries=5)} == {1.0}
    table.sql("DELETE FROM laion WHERE id % 2 = 1")  # what is not there, rounding did not lose
    for metric in ("cosine", "l2"):
        costs = table.rounding_cost(made.folder, queries=5, metric=metric)  # type: ignore[arg-type]
        assert {cost.recall for cost in costs} == {1.0}
    make_shard(tmp_path / "other", 9, 50, DIM)
    with pytest.raises(
        ShardError, match="has no rows of these shards; give the shards it was loaded from"
    ):
        table.rounding_cost(tmp_path / "other", queries=5)


def test_bad_questions_are_named(made: MadeShard, open_table: OpenTable) -> None:
    table = open_table()
    table.ingest(made.folder)
    with pytest.raises(QueryError, match="at least one query"):
        table.recall(queries=0)
    with pytest.raises(QueryError, match="k of 1 to 1,000"):
        table.recall(k=1001)
    with pytest.raises(QueryError, match="29 queries are too few for mode auto to rely on"):
        table.recall(queries=29, save=True)
    with pytest.raises(QueryError, match=r"target is 0; it must be above 0"):
        table.recall(target=0)
    table.sql("ALTER TABLE laion MODIFY COMMENT 'holidays'")
    done: list[float] = []
    with pytest.raises(TableError, match="has a comment of its own, where the figures are kept"):
        table.recall(queries=30, save=True, progress=lambda part, _: done.append(part))
    assert done == []


def test_the_command_prints_draws_and_keeps(small: MadeShard, tmp_path: Path, run: Run) -> None:
    with Table(tmp_path / "laion.chdb") as table:
        table.ingest(small.folder, codes="turboquant")
        table.index(IndexSpec("image", m=32))
    options = ("recall", "--queries", 30, "--plot", "recall.svg", "--shards", "s", "--save")
    told = run(*options, "--json")
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert {entry["mode"] for entry in answer["measured"]} == {"exact", "hnsw", "codes"}
    assert [cost["recall"] for cost in answer["rounding"]] == [1.0, 1.0]
    drawing = ElementTree.parse(tmp_path / "recall.svg").getroot()
    assert drawing.tag.endswith("svg")
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}path"))) > 50
    shown = run("recall", "--queries", 10).stdout
    assert "recall@10" in shown
    assert "*" in shown
    for options in (("-k", "201"), ("-k", "201", "--save"), ("-k", "201", "--json")):
        refused = run("recall", *options)
        assert (refused.returncode, refused.stdout) == (2, "")
        line = "cliphouse: 200 rows: recall@201 says nothing; choose a smaller -k\n"
        assert refused.stderr.endswith(line)


def test_recall_of_few_rows_is_not_measured(tmp_path: Path, run: Run) -> None:
    make_shard(tmp_path / "s", 0, 5, 16)
    with Table(tmp_path / "laion.chdb") as table:
        table.ingest(tmp_path / "s")
    told = run("index", "image", "--m", 4)
    few = "5 rows, too few to measure recall"
    assert told.stdout.splitlines()[-1] == f"image: {few}: a search compares them all"
    assert "recall is measured" not in told.stderr
    assert f"exact ({few})" in run("search", "id:0").stderr
    assert run("recall").stderr == (
        "cliphouse: 5 rows: recall@10 says nothing; choose a smaller -k\n"
    )
    assert {
        e["k"] for e in json.loads(run("recall", "-k", 2, "--queries", 5, "--json").stdout)
    } == {2}


def test_an_index_is_kept_if_measuring_is_interrupted(
    small: MadeShard, tmp_path: Path, run: Run
) -> None:
    with Table(tmp_path / "laion.chdb") as table:
        table.ingest(small.folder)
    script = (
        "import threading; from cliphouse.cli.app import main; "
        "from cliphouse.recall.truth import Exact\n"
        "def wait(*given):\n"
        "    print('measuring', flush=True); threading.Event().wait(60)\n"
        "Exact.answers = wait; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "index", "image"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("image: 200 rows indexed in ")
    assert process.stdout.readline() == "measuring\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "image: measuring recall; the index is kept if this is interrupted\n" in said
    assert "its recall is not measured, so mode auto does not use it" in said
    assert "To measure it: cliphouse recall image --save\n" in said
    with Table(tmp_path / "laion.chdb") as table:
        assert table.info.measured == ()
        assert table.search("id:8589934592", mode="hnsw").stats.mode == "hnsw"
    told = run("index", "image").stdout
    assert "image: the index exists already" in told
    assert "image: recall measured in " in told
    with Table(tmp_path / "laion.chdb") as table:
        assert {entry.k for entry in table.info.measured} == {10, 100}
    assert "measured" not in run("index", "image").stdout


def test_an_index_need_not_be_measured(small: MadeShard, tmp_path: Path, run: Run) -> None:
    with Table(tmp_path / "laion.chdb") as table:
        table.ingest(small.folder)
    told = run("index", "image", "--no-measure")
    assert "image: 200 rows indexed" in told.stdout
    assert "recall" not in told.stdout + told.stderr
    shown = run("recall", "--queries", 30, "--save").stdout
    assert "recall@10" in shown
    assert "recall@100" in shown
    with Table(tmp_path / "laion.chdb") as table:
        assert {entry.k for entry in table.info.measured} == {10, 100}


def test_figures_that_say_nothing_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    entry = Measured("image", "text", "hnsw", 64, 10, 1.0, 1.5, 30, 40, standard_error=0.003)
    draw([entry, replace(entry, width=32, recall=0.9), replace(entry, k=100)])
    shown = capsys.readouterr().out
    assert "recall@10" in shown
    assert "recall@100" not in shown
    assert re.search(r"64 +1\.000 +1\.5", shown)
    assert re.search(r"32 +0\.900 +0\.003 +1\.5", shown)
