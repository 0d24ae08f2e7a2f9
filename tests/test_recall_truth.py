"""What recall is measured against, and which widths it is measured at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clip_like import write_shard
from cliphouse.loading.bfloat16 import bfloat16_bits
from cliphouse.recall.ladder import Step, bisect, walk
from cliphouse.recall.nearest import Nearest
from cliphouse.recall.questions import sample_rows
from cliphouse.recall.truth import Exact
from cliphouse.schema.facts import read_facts
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.request import Request
from cliphouse.table import Table
from cliphouse.vocabulary import Measured, Metric
from conftest import OpenTable
from shard_files import make_shard

DIM = 24
READ, SEARCHED = math.inf, 0.0  # milliseconds of an exact search
KS, QUERIES = (10, 50), 30


def numpy_nearest(
    rows: NDArray[np.float64], query: NDArray[np.float64], k: int, metric: str
) -> list[int]:
    if metric == "cosine":
        apart = 1 - rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    else:
        apart = np.linalg.norm(rows - query, axis=1)
    order: list[int] = np.lexsort((np.arange(len(rows)), np.round(apart, 9)))[:k].tolist()
    return order


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("block", [1, 7, 300])
def test_nearest_rows_are_those_of_numpy(metric: Metric, block: int) -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((300, DIM)).astype("f4") * rng.uniform(0.5, 2, (300, 1)).astype("f4")
    rows[200:220] = rows[:20]  # equally near: the lower id comes first
    queries = np.concatenate(
        (rows[:9] * np.float32(1.1), rng.standard_normal((9, DIM)).astype("f4"))
    )
    nearest = Nearest(queries, metric, 12)
    order = rng.permutation(300)
    for start in range(0, 300, block):
        chosen = order[start : start + block]
        nearest.add(chosen, rows[chosen])
    for query, ids in zip(queries, nearest.ids(), strict=True):
        assert ids == numpy_nearest(rows.astype("f8"), query.astype("f8"), 12, metric)


def test_fewer_rows_than_asked_for_and_rows_of_no_direction() -> None:
    nearest = Nearest(np.eye(3, dtype="f4"), "cosine", 5)
    assert nearest.ids() == [[], [], []]
    rows = np.array([[0, 0, 0], [1, 2, 3], [np.nan, 1, 1], [3, 2, 1]], dtype="f4")
    nearest.add(np.array([7, 8, 9, 6]), rows)
    assert nearest.ids() == [[6, 8], [6, 8], [8, 6]]


@pytest.mark.parametrize("milliseconds", [READ, SEARCHED])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_exact_answers_are_those_of_numpy(
    tmp_path: Path, open_table: OpenTable, precision: str, milliseconds: float
) -> None:
    made = make_shard(tmp_path / "s", 0, 700, DIM, dtype="<f4")
    table = open_table()
    table.ingest(made.folder, precision=precision)
    assert made.text is not None
    stored, queries = made.image.astype("f4"), made.text[:20].astype("f4")
    if precision == "bfloat16":
        stored, queries = (bfloat16_bits(v).view("f4") for v in (stored, queries))
    exact = Exact(table.handle, read_facts(table.handle), milliseconds)
    metrics: tuple[Metric, ...] = ("cosine", "l2")
    for metric in metrics:
        found = exact.answers(Request(k=15, metric=metric), made.text[:20].astype("f4"))
        for query, ids in zip(queries, found, strict=True):
            assert ids == numpy_nearest(stored.astype("f8"), query.astype("f8"), 15, metric)
    samples = sample_rows(table.handle, "image", 30)
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    wanted = np.median([np.sort(unit @ unit[sample.id])[-2] for sample in samples])
    assert exact.similarity(samples, "image") == pytest.approx(wanted, abs=1e-5)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20).map(sorted),
    st.floats(0.01, 1),
)
def test_bisecting_finds_the_first_good_step(recalls: list[float], target: float) -> None:
    measured: dict[int, Step] = {}

    def measure(place: int) -> Step:
        assert place not in measured
        measured[place] = Step(recalls[place], recalls[place] >= target, is_slow=False)
        return measured[place]

    bisect(len(recalls), measure)
    first = next((n for n, recall in enumerate(recalls) if recall >= target), None)
    good = [place for place, step in measured.items() if step.is_good]
    if first is None or not good:
        places = sorted(measured)
        is_stuck = any(recalls[a] == recalls[b] for a, b in pairwise(places))
        assert is_stuck or max(places) == len(recalls) - 1
    else:
        assert min(good) == first
        assert first == 0 or first - 1 in measured
    assert len(measured) <= 2 + 2 * math.log2(len(recalls) + 1)


def test_a_walk_ends_where_wider_steps_gain_nothing() -> None:
    def walked(recalls: list[float], slow: int = 99) -> int:
        seen: list[int] = []

        def measure(place: int) -> Step:
            seen.append(place)
            return Step(recalls[place], recalls[place] >= 0.9, place >= slow)

        walk(len(recalls), measure)
        return len(seen)

    assert walked([0.5, 0.9, 0.9995, 1.0]) == 3
    assert walked([0.5, 0.9, 0.95, 0.96], slow=2) == 3
    assert walked([0.4, 0.4, 0.3, 0.4, 0.9]) == 4
    assert walked([0.4, 0.5, 0.6]) == 3


@pytest.fixture(scope="module")
def clip_table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    folder = tmp_path_factory.mktemp("clip")
    write_shard(folder / "s", 0, 1500)
    with Table(folder / "laion.chdb") as table:
        table.ingest(folder / "s")
        table.index(IndexSpec("image", m=6, ef_construction=24))
        yield table


@pytest.fixture(scope="module")
def whole(clip_table: Table) -> tuple[Measured, ...]:
    """The recall at every width of the ladder."""
    return clip_table.recall("image", k=KS, queries=QUERIES)


def test_a_quick_measurement_finds_what_the_whole_ladder_does(
    clip_table: Table, whole: tuple[Measured, ...]
) -> None:
    """With the same queries; of more it takes no more than it needs."""
    quick = clip_table.recall("image", k=KS, queries=QUERIES, quick=True)
    assert len(quick) < len(whole)
    by_way = {(e.query, e.mode, e.k, e.width): e.recall for e in whole}
    for entry in quick:
        way = (entry.query, entry.mode, entry.k, entry.width)
        assert entry.recall == by_way.get(way, entry.recall)
    asked = [(query, k) for query in ("image", "text") for k in KS]
    found = [first_good(quick, query, k) for query, k in asked]
    assert found == [first_good(whole, query, k) for query, k in asked]
    assert any(found)
    for entry in clip_table.recall("image", k=10, queries=90, quick=True):
        assert entry.standard_error <= 0.005 or entry.queries == 90
        assert entry.queries >= 30


def first_good(measured: tuple[Measured, ...], query: str, k: int) -> int | None:
    """The narrowest width that reaches its target by more than the error. Some graphs have none:
    builders in parallel make another each time."""
    good = (
        e.width
        for e in measured
        if (e.query, e.k, e.mode) == (query, k, "hnsw") and e.recall - e.standard_error >= e.target
    )
    return min(good, default=None)


def test_one_list_of_candidates_gives_the_recall_of_whole_searches(
    clip_table: Table, whole: tuple[Measured, ...]
) -> None:
    """Counted here by the searches that users send, k by k."""
    samples = sample_rows(clip_table.handle, "text", QUERIES)
    exact = [clip_table.search(s.vector, max(KS) + 1, mode="exact") for s in samples]
    for k in KS:
        for width in (64, 128):
            shares = []
            for sample, nearest in zip(samples, exact, strict=True):
                found = clip_table.search(sample.vector, k + 1, mode="hnsw", ef=width)
                wanted = [hit.id for hit in nearest if hit.id != sample.id][:k]
                ids = [hit.id for hit in found if hit.id != sample.id][:k]
                shares.append(len(set(ids) & set(wanted)) / k)
            said = [e.recall for e in whole if (e.query, e.k, e.width) == ("text", k, width)]
            # A search for more candidates than ef is as wide as these are many.
            off = 1e-4 if k + 21 <= width else 0.02
            assert said == [pytest.approx(np.mean(shares), abs=off)]


def test_progress_comes_to_its_end(clip_table: Table) -> None:
    told: list[tuple[int, int]] = []
    clip_table.recall(
        "image",
        queries=QUERIES,
        quick=True,
        progress=lambda done, total: told.append((done, total)),
    )
    done = [step for step, _ in told]
    assert done == sorted(done)
    assert told[-1][0] == told[-1][1]
