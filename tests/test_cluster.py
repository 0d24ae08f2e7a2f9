"""A table on a cluster, against NumPy and the files: with one shard, and with two.

The cluster is a stand-in (standin_cluster.py): the real engine runs the Distributed tables and all
that goes through them; Keeper is pretended, and the shards are all one node.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import cliphouse
from cliphouse import Table
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.schema.info import with_measured, write_info
from crash import Victim, changes, loading
from hooked import small_batches
from shard_files import MadeShard, make_shard
from standin_cluster import MACROS, UP, Clusters, StandInCluster
from thorough import IS_THOROUGH, examples

DIM, ROWS = 64, 150
ONE: Clusters = {"one": [[UP]]}
ON_TWO = pytest.mark.parametrize("world", ["two"], indirect=True)


@dataclass(frozen=True)
class World:
    """A table on a cluster of ``shards`` shards, and the files that it was loaded from."""

    table: Table
    made: list[MadeShard]
    folder: Path
    shards: int
    first_insert: int
    url: str

    @property
    def ids(self) -> NDArray[np.int64]:
        return np.concatenate([shard.ids for shard in self.made])

    def vectors(self, modality: str) -> NDArray[np.float32]:
        parts = [m.image if modality == "image" else m.text for m in self.made]
        return np.concatenate([part.astype(np.float32) for part in parts if part is not None])

    def distances(self, query: NDArray[np.float32], modality: str = "image") -> dict[int, float]:
        """Cosine distances of all rows by id, in double precision."""
        rows = self.vectors(modality).astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        found = 1 - rows @ query.astype(np.float64) / lengths
        return dict(zip(self.ids.tolist(), found.tolist(), strict=True))


@pytest.fixture(scope="module", params=["one", "two"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One shard without Keeper, and two with one; a graph of one byte a number over the images."""
    folder = tmp_path_factory.mktemp(request.param)
    made = [make_shard(folder / "s", number, ROWS, DIM) for number in range(3)]
    with ExitStack() as stack:
        if request.param == "one":
            alone = StandInCluster(folder, ONE, has_keeper=False, macros=MACROS)
            shards, url = 1, stack.enter_context(alone).url()
        else:
            shards, url = 2, request.getfixturevalue("two_shards").fresh_url()
        table = stack.enter_context(cliphouse.open(url))
        first = table.ingest(folder / "s", cluster=request.param).inserted
        table.index(IndexSpec(quantization="i8", m=16))
        yield World(table, made, folder, shards, first, url)


def test_every_row_arrives_once(world: World) -> None:
    assert world.first_insert == 3 * ROWS
    assert world.table.ingest(world.folder / "s").inserted == 0
    found = world.table.sql("SELECT * FROM laion ORDER BY id")
    assert found.column("id").to_pylist() == world.ids.tolist()
    for modality in ("image", "text"):
        stored = np.array(found.column(f"{modality}_embedding").to_pylist(), np.float32)
        assert np.array_equal(stored, world.vectors(modality))
    captions = [caption for shard in world.made for caption in shard.metadata["caption"]]
    assert found.column("caption").to_pylist() == captions
    assert world.table.check(world.folder / "s").findings == ()


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("least", [None, 180])
def test_an_exact_search_is_that_of_numpy(
    world: World, modality: cliphouse.vocabulary.Modality, least: int | None
) -> None:
    query = np.random.default_rng(4).standard_normal(DIM).astype(np.float32)
    where = None if least is None else f"width >= {least}"
    found = world.table.search(query, 20, modality, where, mode="exact")
    distances = world.distances(query, modality)
    if least is not None:
        distances = {i: d for i, d in distances.items() if i % 2**32 + 100 >= least}
    assert [hit.id for hit in found] == sorted(distances, key=lambda i: distances[i])[:20]
    assert [hit.distance for hit in found] == pytest.approx(
        sorted(distances.values())[:20], abs=2e-6
    )


@pytest.mark.parametrize("where", [None, "width >= 180"])
def test_distances_through_the_graphs_are_the_true_ones(world: World, where: str | None) -> None:
    """Those of the graph of bytes would be off by a hundredth, and by another in each shard."""
    query = np.random.default_rng(5).standard_normal(DIM).astype(np.float32)
    if where is not None:
        world.table.drop_index()
        world.table.index(IndexSpec(m=16))  # the filtered search goes by a finer graph
    found = world.table.search(query, 20, where=where, mode="hnsw", ef=1000)
    assert found.stats.mode == "hnsw"
    distances = world.distances(query)
    if where is not None:
        distances = {i: d for i, d in distances.items() if i % 2**32 + 100 >= 180}
    assert [hit.distance for hit in found] == pytest.approx(
        [distances[hit.id] for hit in found], abs=2e-6
    )
    nearest = sorted(distances, key=lambda i: distances[i])[:20]
    assert len(set(nearest) & {hit.id for hit in found}) >= 19


def test_every_shard_searches_its_graph_and_sends_no_more_than_k_rows(world: World) -> None:
    vector = world.made[0].image[7].astype(np.float32)
    sql = world.table.search(vector, 10, mode="hnsw", ef=64).sql
    spelled = f"CAST({vector.tolist()}, 'Array(Float32)')"
    sql = sql.replace("reinterpret(base64Decode({target:String}), 'Array(Float32)')", spelled)
    # As a search runs it: a user's own statement does without the index over deleted rows.
    plan = world.table.connection.query(f"EXPLAIN indexes = 1 {sql}").column("explain").to_pylist()
    lines = [line.strip(" │├└─") for line in plan]
    assert lines.count("Name: image_index") == world.shards
    reads = [n for n, line in enumerate(lines) if line.startswith("ReadFromMergeTree")]
    assert len(reads) == world.shards
    for read in reads:
        above = lines[max(0, read - 12) : read]
        assert any(line.startswith("Limit") for line in above)
        assert "Limit 10" in above


@ON_TWO
def test_recall_is_kept_where_every_node_finds_it(world: World) -> None:
    table = world.table
    measured = table.recall(queries=3)
    assert {(entry.query, entry.mode) for entry in measured} == {
        (query, mode) for query in ("image", "text") for mode in ("exact", "hnsw")
    }
    assert max(entry.recall for entry in measured if entry.mode == "hnsw") >= 0.9
    assert write_info(table.connection, table.handle.placement, with_measured(table.info, measured))
    with cliphouse.open(world.url) as another:
        assert another.info.measured == measured


@ON_TWO
def test_export_statistics_and_rows_are_of_the_whole(world: World, tmp_path: Path) -> None:
    table = world.table
    table.export(tmp_path / "out.parquet", "parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("id").to_pylist() == world.ids.tolist()
    assert table.statistics().rows == 3 * ROWS
    ids = [2**32 + 5, 3, 2 * 2**32]
    assert [row["id"] for row in table.items(ids)] == ids
    summary = table.summary()
    assert (summary.rows, summary.shards) == (3 * ROWS, 3)
    assert [(node.is_reachable, node.rows) for node in summary.nodes] == [(True, 3 * ROWS)]


@ON_TWO
def test_the_index_is_built_once_and_dropped_everywhere(world: World) -> None:
    table = world.table
    assert table.index(IndexSpec("text", m=16)).seconds > 0
    assert table.index(IndexSpec("text", m=16)).seconds == 0
    expected = table.forecast(IndexSpec("text", m=8)).graph
    placed = f"SELECT count() AS rows FROM laion GROUP BY intHash64(id) % {world.shards}"
    largest = max(table.sql(placed).column("rows").to_pylist())
    assert (expected.rows, expected.shards) == (largest, world.shards)
    assert table.index_captions().seconds > 0
    assert table.index_captions().seconds == 0
    assert table.summary().caption_index_bytes > 0
    assert table.drop_index("captions")
    assert not table.drop_index("captions")
    assert table.drop_index("text")
    assert not table.drop_index("text")


@ON_TWO
def test_changed_files_are_replaced(world: World) -> None:
    changed = make_shard(world.folder / "other", 1, ROWS - 20, DIM, seed=99)
    report = world.table.ingest(world.folder / "other", replace=True)
    assert [(load.rows, load.replaced) for load in report.loads] == [(ROWS - 20, True)]
    found = world.table.sql(
        f"SELECT image_embedding FROM laion WHERE intDiv(id, {2**32}) = 1 ORDER BY id"
    )
    stored = np.array(found.column("image_embedding").to_pylist(), np.float32)
    assert np.array_equal(stored, changed.image.astype(np.float32))
    world.table.ingest(world.folder / "s", replace=True)
    checked = world.table.check(world.folder / "s")
    assert checked.is_good
    assert all("marked as deleted" in finding.what for finding in checked.findings)


def test_codes_and_rounded_vectors_on_two_shards(
    tmp_path: Path, two_shards: StandInCluster
) -> None:
    made = make_shard(tmp_path / "s", 0, 120, DIM)
    rows = made.image.astype(np.float64)
    query = made.image[5].astype(np.float32)
    nearness = rows @ query / np.linalg.norm(rows, axis=1)
    nearest = np.argsort(-nearness)[:10].tolist()
    with cliphouse.open(two_shards.fresh_url()) as table:
        table.ingest(tmp_path / "s", cluster="two", codes="rabitq")
        found = table.search(query, 10, mode="codes", oversampling=20)
        assert [hit.id for hit in found] == nearest
        assert found.stats.mode == "codes"
    with cliphouse.open(two_shards.fresh_url()) as table:
        table.ingest(tmp_path / "s", cluster="two", precision="bfloat16")
        exact = table.search(query, 10, mode="exact")
        assert table.info.precision == "bfloat16"
    assert exact[0].id == 5
    assert [hit.score for hit in exact] == pytest.approx(
        sorted(nearness.tolist(), reverse=True)[:10], abs=5e-3
    )


def hash64(number: int) -> int:
    """ClickHouse's intHash64: MurmurHash3's finaliser of the number and a constant."""
    mask = 2**64 - 1
    number ^= 0x4CF2D2BAAE6DA887
    number ^= number >> 33
    number = number * 0xFF51AFD7ED558CCD & mask
    number ^= number >> 33
    number = number * 0xC4CEB9FE1A85EC53 & mask
    return number ^ (number >> 33)


def test_a_batch_is_cut_by_the_hash_of_the_ids_alone(
    tmp_path: Path, two_shards: StandInCluster
) -> None:
    """Each shard's part of it comes as one block, and so is there whole or not at all."""
    make_shard(tmp_path / "s", 0, 5, 8)
    make_shard(tmp_path / "s", 9, 400, 8)
    with cliphouse.open(two_shards.fresh_url()) as table:
        table.ingest(tmp_path / "s", shards=[0], cluster="two")
        table.sql("SYSTEM STOP MERGES laion_local")
        table.ingest(tmp_path / "s")
        parts = table.sql(
            f"SELECT groupArray(id) AS ids FROM laion_local WHERE id >= {9 * 2**32} GROUP BY _part"
        ).column("ids")
    together = [{hash64(row_id) % 2 for row_id in part} for part in parts.to_pylist()]
    assert all(len(shards) == 1 for shards in together)
    sizes = [len(part) for part in parts.to_pylist()]
    assert sum(sizes) == 400
    counts = [sum(n for n, t in zip(sizes, together, strict=True) if t == {s}) for s in (0, 1)]
    assert min(counts) >= 150  # of 200 expected; 5 standard deviations are 50


def test_loads_into_a_cluster_killed_at_any_step_end_with_every_row_once(
    tmp_path: Path, two_shards: StandInCluster
) -> None:
    """At each step that a table on one server has not, with its claims and inserts, in a database
    that each kill leaves to the next; and at random."""
    made = [make_shard(tmp_path / "s", number, 60, 16) for number in range(2)]
    on_two = ", cluster='two'"
    steps = Victim(tmp_path, loading(two_shards.fresh_url(), on_two)).steps()
    at_each, at_random = two_shards.fresh_url(), two_shards.fresh_url()
    for kind in changes(steps):
        is_own = "ON CLUSTER" in kind or kind == "insert" or kind.endswith(("claimed", "done"))
        if is_own or IS_THOROUGH:
            assert Victim(tmp_path, loading(at_each, on_two)).kill_at(kind), kind
    chance = random.Random(3)
    for _ in range(examples(1, 6)):
        victim = Victim(tmp_path, loading(at_random, on_two))
        victim.kill_after(chance.randint(1, len(steps)), chance.uniform(0, 0.05))
    for url in (at_each, at_random):
        with cliphouse.open(url) as table:
            table.ingest(tmp_path / "s", cluster="two", settings=small_batches(25))
            found = table.sql("SELECT id, image_embedding AS v FROM laion ORDER BY id")
            assert table.check(tmp_path / "s").findings == ()
        assert found.column("id").to_pylist() == [*made[0].ids.tolist(), *made[1].ids.tolist()]
        stored = np.array(found.column("v").to_pylist(), np.float32)
        assert np.array_equal(stored, np.concatenate([m.image for m in made]).astype(np.float32))


def test_two_nodes_without_keeper_are_told_one_by_one(tmp_path: Path) -> None:
    """Both are this server, by two names: what each is told comes twice, and changes nothing."""
    make_shard(tmp_path / "s", 0, 60, DIM)
    shares: list[Mapping[str, float]] = []
    with (
        StandInCluster(tmp_path, {"pair": [[UP], ["localhost"]]}, 2, has_keeper=False) as server,
        cliphouse.open(server.url()) as table,
    ):
        table.ingest(tmp_path / "s", cluster="pair")
        table.index(IndexSpec(m=16), progress=shares.append)
        assert table.index(IndexSpec(m=16)).seconds == 0
        nodes = table.summary().nodes
        found = table.search("id:7", 10, mode="hnsw", ef=512)
        exact = table.search("id:7", 10, mode="exact")
        assert table.check(tmp_path / "s").findings == ()
        assert table.drop_index()
    assert [(node.name, node.shard) for node in nodes] == [
        (f"127.0.0.1:{UP}", 1),
        (f"localhost:{UP}", 2),
    ]
    assert found.hits == exact.hits
    assert {name for done in shares for name in done} <= {
        f"shard 1, 127.0.0.1:{UP}",
        f"shard 2, localhost:{UP}",
    }
