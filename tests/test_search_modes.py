"""Every mode on a table as tables become: several parts, rows deleted, rows without an index, codes
and an index side by side. Whatever the way, the answer keeps its promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cliphouse.loading.bfloat16 import bfloat16_bits
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.table import Table
from shard_files import make_shard
from thorough import examples

DIM = 64
MODES = ("auto", "exact", "codes", "hnsw")


@dataclass(frozen=True)
class World:
    """A table, and by numpy what is in it: ids, widths, and vectors as they are stored."""

    table: Table
    ids: NDArray[np.int64]
    widths: NDArray[np.int64]
    vectors: dict[str, NDArray[np.float64]]
    precision: str

    def distances(self, query: NDArray[np.float32], modality: str, metric: str) -> dict[int, float]:
        rows = self.vectors[modality]
        asked = query if self.precision == "float32" else bfloat16_bits(query).view(np.float32)
        asked = asked.astype(np.float64)
        if metric == "l2":
            found = np.linalg.norm(rows - asked, axis=1)
        else:
            found = 1 - rows @ asked / np.linalg.norm(rows, axis=1) / np.linalg.norm(asked)
        return dict(zip(self.ids.tolist(), found.tolist(), strict=True))


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("modes")
    make_shard(folder / "a", 0, 1500, DIM)
    make_shard(folder / "b", 3, 300, DIM)
    with Table(folder / "db") as table:
        table.ingest(folder / "a", precision=request.param, codes="rabitq")
        for modality, metric in (("image", "cosine"), ("image", "l2"), ("text", "cosine")):
            table.index(IndexSpec(modality, metric, m=8, ef_construction=64))  # type: ignore[arg-type]
        table.ingest(folder / "b")  # no index covers these
        table.sql("DELETE FROM laion WHERE id % 7 = 2")
        table.recall("image", k=10, queries=30, save=True, quick=True)
    return folder, request.param


@pytest.fixture
def world(folder: tuple[Path, str]) -> Iterator[World]:
    root, precision = folder
    shards = [
        make_shard(root / name, n, rows, DIM) for name, n, rows in (("a", 0, 1500), ("b", 3, 300))
    ]
    ids = np.concatenate([shard.ids for shard in shards])
    keep = ids % 7 != 2
    stored: dict[str, Any] = {"image": [s.image for s in shards], "text": [s.text for s in shards]}
    vectors = {}
    for modality, parts in stored.items():
        rows = np.concatenate(parts).astype(np.float32)
        if precision == "bfloat16":
            rows = bfloat16_bits(rows).view(np.float32)
        vectors[modality] = rows[keep].astype(np.float64)
    widths = np.concatenate([np.array(s.metadata["width"]) for s in shards])
    with Table(root / "db") as table:
        yield World(table, ids[keep], widths[keep], vectors, precision)


@settings(
    max_examples=examples(20, 60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 60),
    mode=st.sampled_from(MODES),
    modality=st.sampled_from(["image", "text"]),
    metric=st.sampled_from(["cosine", "l2"]),
    least=st.one_of(st.none(), st.integers(100, 1650)),
    offset=st.integers(0, 30),
)
def test_every_mode_keeps_its_promises(
    world: World,
    seed: int,
    k: int,
    mode: str,
    modality: str,
    metric: str,
    least: int | None,
    offset: int,
) -> None:
    if (mode, metric) == ("codes", "l2") or (mode, modality, metric) == ("hnsw", "text", "l2"):
        metric = "cosine"
    query = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    where = None if least is None else f"width >= {least}"
    found = world.table.search(query, k, modality, where, metric, mode, offset=offset)  # type: ignore[arg-type]
    allowed = world.ids if least is None else world.ids[world.widths >= least]
    truth = world.distances(query, modality, metric)
    got = [hit.id for hit in found]
    assert len(got) == min(k, max(0, len(allowed) - offset))
    assert len(set(got)) == len(got)
    assert set(got) <= set(allowed.tolist())
    assert [hit.distance for hit in found] == sorted(hit.distance for hit in found)
    for hit in found:
        assert hit.distance == pytest.approx(truth[hit.id], abs=5e-6)
    if found.stats.mode == "exact":
        ranked = sorted(truth[i] for i in allowed.tolist())[offset : offset + k]
        assert [hit.distance for hit in found] == pytest.approx(ranked, abs=5e-6)


@settings(
    max_examples=examples(15, 40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 60),
    mode=st.sampled_from(MODES),
    metric=st.sampled_from(["cosine", "l2"]),
    matching=st.integers(0, 200),
    least=st.one_of(st.none(), st.integers(100, 1650)),
    is_sql=st.booleans(),
)
def test_a_condition_on_the_score_keeps_the_promises(
    world: World,
    seed: int,
    k: int,
    mode: str,
    metric: str,
    matching: int,
    least: int | None,
    is_sql: bool,
) -> None:
    metric = "cosine" if mode == "codes" else metric
    query = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    scores = {i: 1 - d for i, d in world.distances(query, "image", "cosine").items()}
    ranked = sorted(scores.values(), reverse=True)
    bound = (ranked[matching] + ranked[matching + 1]) / 2
    terms = [f"score > {bound!r}"] * is_sql + [f"width >= {least}"] * (least is not None)
    found = world.table.search(
        query,
        k,
        "image",
        " AND ".join(terms),
        metric,  # type: ignore[arg-type]
        mode,
        min_score=None if is_sql else bound,
    )
    wide = [True] * len(world.ids) if least is None else (world.widths >= least).tolist()
    passing = [i for i, w in zip(world.ids.tolist(), wide, strict=True) if w and scores[i] > bound]
    distances = world.distances(query, "image", metric)
    assert len(found) == min(k, len(passing))
    assert {hit.id for hit in found} <= set(passing)
    for hit in found:
        assert hit.distance == pytest.approx(distances[hit.id], abs=5e-6)
    if found.stats.mode == "exact":
        nearest = sorted(distances[i] for i in passing)[:k]
        assert [hit.distance for hit in found] == pytest.approx(nearest, abs=5e-6)


@pytest.mark.parametrize("mode", MODES)
def test_pages_never_repeat_a_row(world: World, mode: str) -> None:
    query = world.vectors["text"][11].astype(np.float32)
    seen: list[int] = []
    cursor = None
    while True:
        page = world.table.search(query, 90, mode=mode, cursor=cursor)  # type: ignore[arg-type]
        seen += [hit.id for hit in page]
        assert len(page) == 90 or page.cursor is None
        cursor = page.cursor
        if cursor is None:
            break
    assert len(set(seen)) == len(seen)
    # An approximate search may have passed over a row that its next, deeper search finds.
    assert len(seen) > (0.99 if mode != "exact" else 1) * len(world.ids) - 1


@pytest.mark.parametrize("mode", MODES)
def test_near_duplicates_are_folded_and_refilled(world: World, mode: str) -> None:
    query = world.vectors["image"][40].astype(np.float32)
    threshold = 0.25  # random directions of 64 dimensions are rarely closer
    found = world.table.search(query, 30, dedup=threshold, mode=mode)  # type: ignore[arg-type]
    assert len(found) == 30
    place = {row_id: i for i, row_id in enumerate(world.ids.tolist())}
    unit = world.vectors["image"] / np.linalg.norm(world.vectors["image"], axis=1, keepdims=True)
    kept = unit[[place[hit.id] for hit in found]]
    alike = kept @ kept.T - np.eye(len(kept))
    assert alike.max() < threshold
    assert sum(hit.folded for hit in found) > 0
    if mode == "exact":
        distances = world.distances(query, "image", "cosine")
        ranked = sorted(world.ids.tolist(), key=lambda i: distances[i])
        wanted: list[int] = []
        for row_id in ranked:
            if all(unit[place[row_id]] @ unit[place[w]] < threshold for w in wanted):
                wanted.append(row_id)
        assert [hit.id for hit in found] == wanted[:30]


def test_more_than_the_engine_s_limit_stays_on_the_index(world: World) -> None:
    query = world.vectors["image"][3].astype(np.float32)
    found = world.table.search(query, 1200, mode="hnsw", ef=1500)
    assert found.stats.mode == "hnsw"
    truth = world.distances(query, "image", "cosine")
    nearest = sorted(truth, key=lambda i: truth[i])[:1200]
    assert len(set(nearest) & {hit.id for hit in found}) > 0.95 * 1200
