"""The sums behind the search benchmark: a wrong one would tell a wrong story in good faith."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ingest import Memory, tree_memory
from search.catalogue import CONTENDERS, CURVE_ROWS, contenders_at, curve_rows, steps
from search.contender import Answer, Case, Vector
from search.data import (
    CONDITIONS,
    keep_selected,
    make_shard,
    make_truth,
    nearest,
    queries,
    rows_in_batches,
    truth,
)
from search.measure import Failure, Footprint, Measurement, Timing, time_case
from search.parts import Parts
from search.place import Place, StepRecord
from search.summary import Curve, Figure, Summary, ratio, time_at_recall
from search.targets import targets

ROWS = 300


def timing(
    p50: float, recall: float = 1.0, round: int = 1, rows: int = ROWS, **named: str
) -> Timing:
    names = {"contender": "numpy", "case": "", "kind": "text"} | named
    return Timing(rows, round, **names, asked=100, p50=p50, p95=p50, recall=recall, full=100,
                  matching=rows, said={})  # fmt: skip


def figure(p50: float, recall: float = 1.0, rows: int = ROWS) -> Figure:
    return Figure.of([timing(p50, recall, rows=rows)])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("bench"), ROWS)
    make_shard(made)
    make_truth(made)
    return made


def cosines(place: Place, vector: Vector) -> np.ndarray:
    rows = np.load(place.shard.image).astype(np.float64)
    return rows @ vector.astype(np.float64) / np.linalg.norm(rows, axis=1)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_truth_is_the_ten_rows_of_highest_cosine(place: Place, kind: str) -> None:
    for vector, found in zip(queries(place, kind).timed, truth(place, kind), strict=True):
        assert found.tolist() == np.argsort(-cosines(place, vector))[:10].tolist()


def test_truth_of_a_filter_is_among_the_rows_it_selects(place: Place) -> None:
    chosen = {CONDITIONS[0].name: np.arange(0, ROWS, 2), CONDITIONS[1].name: np.array([7, 3])}
    keep_selected(place, chosen)
    vector = queries(place, "text").timed[5]
    order = np.argsort(-cosines(place, vector))
    even = truth(place, "text", CONDITIONS[0])[5]
    assert even.tolist() == [row for row in order if row % 2 == 0][:10]
    two = truth(place, "text", CONDITIONS[1])[5]
    assert two.tolist() == [row for row in order if row in (3, 7)]


def test_queries_are_not_in_the_table(place: Place) -> None:
    for vector in queries(place, "image").timed:
        assert cosines(place, vector).max() < 0.999


def test_nearest_of_fewer_rows_than_k() -> None:
    rows = np.eye(3, 512, dtype=np.float32)
    assert nearest(rows, rows[2:3]).tolist()[0][0] == 2
    assert nearest(rows[:0], rows[:1]).shape == (1, 0)


def test_recall_and_full_count_what_an_answer_misses(place: Place) -> None:
    right = iter(truth(place, "text"))
    warm_up = len(queries(place, "text").warm_up)
    asked = 0

    def ask(vector: Vector, case: Case) -> Answer:
        nonlocal asked
        asked += 1
        return Answer([] if asked <= warm_up else next(right)[:9].tolist(), "nine")

    found = time_case(place, CONTENDERS["numpy"], ask, Case(""), "text", 1)
    assert (found.asked, found.full, found.said) == (100, 0, {"nine": 100})
    assert found.recall == pytest.approx(0.9)


def test_time_at_recall_lies_between_the_widths_around_it() -> None:
    ladder = [figure(1, 0.5), figure(4, 0.7), figure(16, 0.9)]
    assert time_at_recall(ladder, 0.8) == pytest.approx(8)  # half way, by the logarithm
    assert time_at_recall(ladder, 0.4) == 1
    assert time_at_recall(ladder, 0.9) == pytest.approx(16)
    assert time_at_recall(ladder, 0.95) is None


def test_ratio_is_taken_within_rounds() -> None:
    slow = Figure.of([timing(10, round=1), timing(40, round=2), timing(30, round=3)])
    fast = Figure.of([timing(5, round=1), timing(10, round=2), timing(10, round=3)])
    assert ratio(slow, fast) == 3
    assert ratio(slow, None) is None


def test_exponent_of_a_power_law() -> None:
    points = [figure(0.001 * rows**0.75, rows=rows) for rows in CURVE_ROWS]
    assert Curve("numpy", "", "text", points).exponent == pytest.approx(0.75)
    assert math.isnan(Curve("numpy", "", "text", points[:1]).exponent)


def test_targets_are_reached_missed_or_not_measured() -> None:
    auto = {"contender": "auto"}
    timings = [timing(10, 0.96, **auto), timing(10, 0.98, kind="image", **auto), timing(25)]
    timings += [timing(100, contender="exact-float32"), timing(60, contender="exact-bfloat16")]
    reached = {aim.aim: aim.reached for aim in targets(Summary(timings), [ROWS])}
    assert reached["auto, 300 rows: recall@10 of text queries at least 0.95"] is True
    assert reached["auto, 300 rows: recall@10 of image queries at least 0.99"] is False
    assert reached["exact Float32 at most 2.5 times NumPy, 300 rows, text queries"] is False
    faster = "auto at least 4 times faster than exact Float32, 300 rows"
    assert (reached[f"{faster}, text queries"], reached[f"{faster}, image queries"]) == (True, None)


def test_graphs_are_compared_at_the_same_recall() -> None:
    timings = []
    for name, p50 in {"hnsw": 6.0, "qdrant": 2.0, "pgvector": 17.0, "faiss-hnsw": 1.0}.items():
        for kind in ("text", "image"):
            timings += [timing(p50, 0.95, contender=name, case="ef 128", kind=kind)]
    aims = {aim.aim: aim for aim in targets(Summary(timings), [ROWS])}
    where = "at recall 0.95, 300 rows"
    qdrant = aims[f"hnsw within 2.5 ms + 2 x Qdrant Edge {where}, text queries"]
    assert qdrant.reached is True
    assert qdrant.figure == "6.00 ms, wanted 6.50 ms (Qdrant Edge HNSW 2.00 ms)"
    assert aims[f"hnsw at most a third of pgvector {where}, text queries"].reached is False
    assert aims[f"hnsw at most 6 x FAISS + 3 ms {where}, image queries"].reached is True


def test_filters_are_compared_with_the_same_kind_of_query() -> None:
    condition = CONDITIONS[0].name
    named = {"contender": "filters", "case": f"auto, {condition}"}
    timings = [timing(20, **named), timing(10, kind="image", **named)]
    timings += [timing(21, contender="exact-float32")]
    aim = f"filter {condition}, 300 rows: no mode slower than exact without a filter"

    def reached(*more: Timing) -> bool | None:
        found = targets(Summary([*timings, *more]), [ROWS])
        return next(each.reached for each in found if each.aim == aim)

    assert reached() is None
    assert reached(timing(11, contender="exact-float32", kind="image")) is True
    assert reached(timing(9, contender="exact-float32", kind="image")) is False


def test_rows_come_in_batches_with_their_own_metadata(place: Place) -> None:
    batches = list(rows_in_batches(place, 128))
    rows = [row for batch in batches for row in batch.each()]
    assert [len(batch.ids) for batch in batches] == [128, 128, 44]
    metadata = pq.read_table(place.shard.metadata)
    assert [row[:3] for row in rows] == list(
        zip(range(ROWS), *(metadata.column(name).to_pylist() for name in ("url", "caption")),
            strict=True)
    )  # fmt: skip
    vectors = np.load(place.shard.image).astype(np.float64)
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose([row[3] for row in rows], expected, atol=1e-6)


def test_shared_pages_of_a_tree_count_once() -> None:
    server, worker = Memory(own=50, resident=90, shared=40), Memory(own=30, resident=60, shared=25)
    assert tree_memory([server, worker]) == Memory(own=55, resident=125, shared=40)
    assert tree_memory([]) == Memory()


def test_a_measurement_is_read_as_it_was_written(tmp_path: Path) -> None:
    parts = Parts(ROWS, 1, "exact", 1.0, 0.2, 3.0, 0.1, 3.3, 0.5)
    footprint = Footprint(ROWS, 1, "numpy", 10, 20)
    kept = Measurement([timing(1)], [footprint], [parts], [Failure(ROWS, "zvec", "no")], [0.5])
    kept.write(tmp_path / "measured.json")
    assert Measurement.read(tmp_path / "measured.json") == kept


def test_only_the_followed_contenders_are_measured_at_other_sizes() -> None:
    assert curve_rows([20_000]) == [10_000, 20_000]
    followed = [each.name for each in contenders_at(10_000, [20_000], list(CONTENDERS))]
    assert followed == ["numpy", "exact-float32", "exact-bfloat16", "auto", "hnsw"]
    needed = list(steps([CONTENDERS["filters"], CONTENDERS["hnsw"]]))
    assert needed.index("shard") < needed.index("float32") < needed.index("float32-index")
    assert len(needed) == len(set(needed))


def test_finished_steps_are_kept(tmp_path: Path) -> None:
    place = Place(tmp_path, ROWS)
    place.root.mkdir()
    assert place.done() == {}
    place.record(StepRecord("shard", 1.5, 10, 20))
    place.record(StepRecord("truth", 2.5, 30, 40))
    assert Place(tmp_path, ROWS).done()["shard"] == StepRecord("shard", 1.5, 10, 20)
    assert list(place.done()) == ["shard", "truth"]
