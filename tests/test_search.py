"""Search against numpy: the same rows, true distances, in every mode and metric."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cliphouse.errors import QueryError, TableError
from cliphouse.loading.bfloat16 import bfloat16_bits
from cliphouse.table import Table
from conftest import OpenTable
from shard_files import MadeShard, make_shard
from thorough import examples

ROWS, DIM = 600, 32


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[MadeShard]]:
    """A database of two shards, and what is in them."""
    folder = tmp_path_factory.mktemp("world")
    made = [make_shard(folder / "s", number, ROWS // 2, DIM) for number in (0, 5)]
    with Table(folder / "db") as table:
        table.ingest(folder / "s", precision=request.param)
    return folder / "db", made


@pytest.fixture
def world(built: tuple[Path, list[MadeShard]]) -> Iterator[tuple[Table, list[MadeShard]]]:
    """The opened table and what is in it."""
    with Table(built[0]) as table:
        yield table, built[1]


def truth(
    made: list[MadeShard], modality: str, metric: str, query: NDArray[np.float32], precision: str
) -> dict[int, float]:
    """Every row's distance by numpy, in float64."""
    parts = [shard.image if modality == "image" else shard.text for shard in made]
    rows = np.concatenate([part for part in parts if part is not None]).astype(np.float32)
    if precision == "bfloat16":
        rows = bfloat16_bits(rows).view(np.float32)
        query = bfloat16_bits(query).view(np.float32)
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        distances = np.linalg.norm(rows - query, axis=1)
    else:
        norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        distances = 1 - rows @ query / norms
    ids = np.concatenate([shard.ids for shard in made])
    return dict(zip(ids.tolist(), distances.tolist(), strict=True))


@settings(
    max_examples=examples(8, 25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 40),
    modality=st.sampled_from(["image", "text"]),
    metric=st.sampled_from(["cosine", "l2"]),
    least=st.one_of(st.none(), st.integers(100, 500)),
)
def test_exact_equals_numpy(
    world: tuple[Table, list[MadeShard]],
    seed: int,
    k: int,
    modality: str,
    metric: str,
    least: int | None,
) -> None:
    table, made = world
    query = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    where = None if least is None else f"width >= {least}"
    found = table.search(query, k, modality, where, metric, "exact")
    distances = truth(made, modality, metric, query, table.info.precision)
    if least is not None:
        widths = {
            row_id: width
            for shard in made
            for row_id, width in zip(shard.ids.tolist(), shard.metadata["width"], strict=True)
        }
        distances = {row: d for row, d in distances.items() if widths[row] >= least}
    ranked = sorted(distances.values())[:k]
    assert len(found) == len(ranked)
    assert len({hit.id for hit in found}) == len(found)
    for hit, expected in zip(found, ranked, strict=True):
        assert hit.distance == pytest.approx(expected, abs=2e-6)
        assert hit.distance == pytest.approx(distances[hit.id], abs=2e-6)


def test_hits_carry_their_own_row(world: tuple[Table, list[MadeShard]]) -> None:
    table, made = world
    hit = table.search(f"id:{5 * 2**32 + 17}", k=1)[0]
    expected = made[1].metadata
    assert hit.id == 5 * 2**32 + 17
    assert (hit.caption, hit.url) == (expected["caption"][17], expected["url"][17])
    assert (hit.width, hit.height, hit.NSFW) == (117, 217, "UNLIKELY")
    assert (hit.license, hit.similarity) == ("?", pytest.approx(expected["similarity"][17]))
    assert hit.score == pytest.approx(1, abs=1e-6)


def test_a_vector_finds_its_own_row_in_either_modality(
    world: tuple[Table, list[MadeShard]], tmp_path: Path
) -> None:
    table, made = world
    assert made[0].text is not None
    np.save(tmp_path / "vector.npy", made[0].text[33].astype("f4"))
    found = table.search(str(tmp_path / "vector.npy"), k=1, modality="text")
    assert found[0].id == 33
    np.save(tmp_path / "row.npy", made[1].image[8:9].astype("f8"))
    assert table.search(tmp_path / "row.npy", k=1)[0].id == made[1].ids[8]


def test_more_than_there_is_gives_all(world: tuple[Table, list[MadeShard]]) -> None:
    table, made = world
    found = table.search(made[0].image[0].astype("f4"), k=5000)
    assert sorted(hit.id for hit in found) == [i for shard in made for i in shard.ids.tolist()]
    assert [hit.distance for hit in found] == sorted(hit.distance for hit in found)


def test_where_may_be_any_condition(world: tuple[Table, list[MadeShard]]) -> None:
    table, made = world
    condition = "caption LIKE '%shard 5' OR id = 3 -- a comment"
    found = table.search(made[0].image[3].astype("f4"), k=1000, where=condition)
    assert sorted(hit.id for hit in found) == [3, *made[1].ids.tolist()]


def test_bad_queries_are_named(world: tuple[Table, list[MadeShard]], tmp_path: Path) -> None:
    table, _ = world
    np.save(tmp_path / "nan.npy", np.full(DIM, np.nan))
    np.save(tmp_path / "long.npy", np.ones(DIM + 1))
    np.save(tmp_path / "two.npy", np.ones((2, DIM)))
    (tmp_path / "no.npy").write_text("hello")
    for query, match in (
        ("", "the query is empty"),
        (f"id:{2**40}", "table laion has no such row"),
        (str(tmp_path / "nan.npy"), "NaN, infinity, only zeros"),
        (str(tmp_path / "long.npy"), "dimension 33, but table laion has 32"),
        (str(tmp_path / "two.npy"), r"shape \(2, 32\), but a query is one vector"),
        (str(tmp_path / "no.npy"), "not a readable .npy file"),
        (str(tmp_path / "absent.npy"), "no such file"),
        (np.zeros(DIM), "only zeros"),
    ):
        with pytest.raises(QueryError, match=match):
            table.search(query)


def test_bad_options_are_named(world: tuple[Table, list[MadeShard]]) -> None:
    table, _ = world
    with pytest.raises(QueryError, match="k is 0; it must be 1 to 100,000"):
        table.search("id:1", k=0)
    with pytest.raises(QueryError, match="mode 'fast': it must be one of auto, exact, codes, hnsw"):
        table.search("id:1", mode="fast")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="modality 'sound': it must be one of image, text"):
        table.search("id:1", modality="sound")  # type: ignore[arg-type]
    with pytest.raises(
        QueryError, match="position 1, at 'bogus = 1': the table has no column bogus"
    ):
        table.search("id:1", where="bogus = 1")
    with pytest.raises(QueryError, match="something is missing after 'width >'"):
        table.search("id:1", where="width >")
    with pytest.raises(QueryError, match="no cosine index on text_embedding: build it with"):
        table.search("id:1", modality="text", mode="hnsw")


def test_an_empty_and_a_missing_table_say_what_to_do(tmp_path: Path, open_table: OpenTable) -> None:
    with pytest.raises(TableError, match=r"no database here; .* make one with: cliphouse sync"):
        open_table().search("id:1")
    make_shard(tmp_path / "s")
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("TRUNCATE TABLE laion")
    with pytest.raises(TableError, match="table laion is empty; load it with"):
        table.search("id:1")
    table.close()
    with pytest.raises(TableError, match="no table other; make it with"):
        open_table(table="other").search("id:1")


def test_a_query_kept_in_json_has_no_nan(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", with_text=False, metadata={"caption": ["x"] * 20})
    table = open_table()
    table.ingest(tmp_path / "s")
    result = table.search("id:0", k=2)
    assert np.isnan(result[0].similarity)
    assert set(result.to_dict()) == {"hits", "search", "cursor"}
    assert json.loads(json.dumps(result.to_dict()["search"]))["mode"] == "exact"
